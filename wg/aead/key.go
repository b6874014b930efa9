package aead

import "crypto/cipher"

const (
	keyLen   = 32
	nonceLen = 12
)

// useVector says whether the kernels of this package are used, testOnlyAlways
// whether even for batches that are too small to be worth it.
var (
	useVector      = hasVector
	testOnlyAlways = false
)

// A Key seals and opens. Between Init and Wipe it does not change and may be
// used by several goroutines, each with a Batch of its own; it must not be
// copied.
type Key struct {
	bytes  [keyLen]byte // for the kernels
	single cipher.AEAD  // of golang.org/x/crypto, for one message at a time
}

// Init makes k a key of those bytes, of which it keeps a copy.
func (k *Key) Init(key *[keyLen]byte) {
	k.bytes = *key
	k.single = New(key)
}

// Wipe overwrites the key. k must not be in use; until the next Init it cannot
// be used.
func (k *Key) Wipe() {
	if k.single != nil {
		Wipe(k.single)
	}
	*k = Key{}
}

// IsZero reports whether k has no key: Init was not called, or Wipe was.
func (k *Key) IsZero() bool { return k.single == nil }

// Seal encrypts the texts of b in place and writes their tags behind them.
func (k *Key) Seal(b *Batch) {
	if worthwhile(b) {
		k.sealByVector(b)
	} else {
		k.sealByLibrary(b)
	}
}

// Open decrypts the texts of b in place and finds out which are authentic: OK
// tells. The bytes of one that is not are cleared, its tag excepted.
func (k *Key) Open(b *Batch) {
	if worthwhile(b) {
		k.openByVector(b)
	} else {
		k.openByLibrary(b)
	}
}

// worthwhile reports whether b keeps enough lanes busy for the kernels to be
// faster than the library.
func worthwhile(b *Batch) bool {
	return useVector && (b.n >= 2 || b.n == 1 && (len(b.m[0].text) >= 1024 || testOnlyAlways))
}
