package wg

import (
	"crypto/cipher"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/chacha20poly1305"
)

// newAEAD returns ChaCha20-Poly1305 under k.
func newAEAD(k *[32]byte) cipher.AEAD {
	a, err := chacha20poly1305.New(k[:])
	if err != nil {
		panic("BUG: " + err.Error()) // only for a key of the wrong size
	}
	return a
}

// wipeAEAD overwrites the copy of the key inside a and reports whether it
// found it. The library offers no way to forget a key, so this goes by the
// name of its field; a test notices when a new version moves it. a must not be
// in use.
func wipeAEAD(a cipher.AEAD) bool {
	v := reflect.ValueOf(a)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false
	}
	f := v.Elem().FieldByName("key")
	if !f.IsValid() || f.Type() != reflect.TypeFor[[chacha20poly1305.KeySize]byte]() {
		return false
	}
	clear((*[chacha20poly1305.KeySize]byte)(unsafe.Pointer(f.UnsafeAddr()))[:])
	return true
}
