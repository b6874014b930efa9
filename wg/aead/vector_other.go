//go:build !amd64 || !gc || purego

package aead

// hasVector says that there are no kernels for this machine.
var hasVector = false

type scratch struct{}

func (k *Key) sealByVector(*Batch) { panic("BUG: no kernel") }
func (k *Key) openByVector(*Batch) { panic("BUG: no kernel") }
