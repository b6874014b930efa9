package aead

import (
	"crypto/cipher"
	"encoding/binary"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/chacha20poly1305"
)

// New returns the library's ChaCha20-Poly1305 under k: for messages that come
// alone and have additional data. The key it keeps is overwritten by Wipe.
func New(k *[keyLen]byte) cipher.AEAD {
	a, err := chacha20poly1305.New(k[:])
	if err != nil {
		panic("BUG: " + err.Error()) // only for a key of the wrong size
	}
	return a
}

// Wipe overwrites the copy of the key inside a, which New returned, and reports
// whether it found it. The library offers no way to forget a key, so this goes
// by the name of its field; a test notices when a new version moves it. a must
// not be in use.
func Wipe(a cipher.AEAD) bool {
	v := reflect.ValueOf(a)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false
	}
	f := v.Elem().FieldByName("key")
	if !f.IsValid() || f.Type() != reflect.TypeFor[[keyLen]byte]() {
		return false
	}
	clear((*[keyLen]byte)(unsafe.Pointer(f.UnsafeAddr()))[:])
	return true
}

// sealByLibrary is Seal, one message after the other.
func (k *Key) sealByLibrary(b *Batch) {
	for i := range b.n {
		m := &b.m[i]
		binary.LittleEndian.PutUint64(b.nonce[4:], m.counter)
		k.single.Seal(m.text[:0], b.nonce[:], m.text, nil)
	}
}

// openByLibrary is Open, one message after the other.
func (k *Key) openByLibrary(b *Batch) {
	for i := range b.n {
		m := &b.m[i]
		binary.LittleEndian.PutUint64(b.nonce[4:], m.counter)
		_, err := k.single.Open(m.text[:0], b.nonce[:], m.text[:len(m.text)+TagLen], nil)
		m.ok = err == nil
	}
}
