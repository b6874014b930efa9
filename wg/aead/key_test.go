package aead

import (
	"bytes"
	"crypto/cipher"
	"reflect"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

func libraryIsWiped(t *testing.T, a cipher.AEAD) bool {
	t.Helper()
	return reflect.ValueOf(a).Elem().FieldByName("key").IsZero()
}

// The keys are ours to forget, though the library copies them.
func TestWipedKeysAreGone(t *testing.T) {
	key := [32]byte{1, 2, 3}
	a := New(&key)
	if libraryIsWiped(t, a) {
		t.Fatalf("the key is not where it was looked for: %T", a)
	}
	if !Wipe(a) || !libraryIsWiped(t, a) {
		t.Fatal("the key is still there")
	}
	x, _ := chacha20poly1305.NewX(key[:])
	if !Wipe(x) {
		t.Fatal("XChaCha20-Poly1305 keeps its key elsewhere")
	}
	var k Key
	k.Init(&key)
	single := k.single
	if k.IsZero() {
		t.Fatal("a key that was made has no key")
	}
	k.Wipe()
	if !k.IsZero() || !libraryIsWiped(t, single) {
		t.Fatal("the key is still there after Wipe")
	}
	if !bytes.Equal(key[:4], []byte{1, 2, 3, 0}) {
		t.Fatal("Wipe overwrote the caller's key")
	}
}
