package aead

import "crypto/cipher"

const (
	keyLen   = 32
	nonceLen = 12
)

// A Key seals and opens. Between Init and Wipe it does not change and may be
// used by several goroutines, each with a Batch of its own; it must not be
// copied.
type Key struct {
	library cipher.AEAD
}

// Init makes k a key of those bytes, of which it keeps a copy.
func (k *Key) Init(key *[keyLen]byte) { k.library = New(key) }

// Wipe overwrites the key. k must not be in use; until the next Init it cannot
// be used.
func (k *Key) Wipe() {
	if k.library != nil {
		Wipe(k.library)
	}
	*k = Key{}
}

// IsZero reports whether k has no key: Init was not called, or Wipe was.
func (k *Key) IsZero() bool { return k.library == nil }

// Seal encrypts the texts of b in place and writes their tags behind them.
func (k *Key) Seal(b *Batch) { k.sealByLibrary(b) }

// Open decrypts the texts of b in place and finds out which are authentic: OK
// tells. The bytes of one that is not are cleared, its tag excepted.
func (k *Key) Open(b *Batch) { k.openByLibrary(b) }
