package wg

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/crypto/curve25519"
)

// KeyLen is the length in bytes of every WireGuard key.
const KeyLen = 32

// hidden is what a secret key prints as, whatever the verb.
const hidden = "(hidden)"

// errKeyFormat is returned by the Parse functions; it never quotes the input.
var errKeyFormat = errors.New("not a key: want 44 characters of base64 that stand for 32 bytes")

// A PrivateKey is a clamped Curve25519 scalar. It prints as "(hidden)". The
// zero PrivateKey means that there is none.
type PrivateKey struct {
	_ [0]func() // not comparable: == would not take constant time
	b [KeyLen]byte
}

// A PublicKey is a Curve25519 point: who a peer is. It is comparable and may be
// the key of a map. It prints as base64.
type PublicKey [KeyLen]byte

// A PresharedKey is mixed into the handshake. It prints as "(hidden)". The zero
// PresharedKey means that there is none.
type PresharedKey struct {
	_ [0]func()
	b [KeyLen]byte
}

// NewPrivateKey returns a random private key, clamped as RFC 7748 §5 says.
func NewPrivateKey() PrivateKey {
	var k PrivateKey
	rand.Read(k.b[:])
	k.clamp()
	return k
}

// NewPresharedKey returns a random preshared key.
func NewPresharedKey() PresharedKey {
	var k PresharedKey
	rand.Read(k.b[:])
	return k
}

// ParsePrivateKey returns the key that s is the base64 of.
func ParsePrivateKey(s string) (PrivateKey, error) {
	var k PrivateKey
	if err := parseKey(&k.b, s); err != nil {
		return PrivateKey{}, err
	}
	k.clamp()
	return k, nil
}

// ParsePublicKey returns the key that s is the base64 of.
func ParsePublicKey(s string) (PublicKey, error) {
	var b [KeyLen]byte
	if err := parseKey(&b, s); err != nil {
		return PublicKey{}, err
	}
	return PublicKey(b), nil
}

// ParsePresharedKey returns the key that s is the base64 of.
func ParsePresharedKey(s string) (PresharedKey, error) {
	var k PresharedKey
	if err := parseKey(&k.b, s); err != nil {
		return PresharedKey{}, err
	}
	return k, nil
}

func parseKey(b *[KeyLen]byte, s string) error {
	if len(s) != base64.StdEncoding.EncodedLen(KeyLen) {
		return fmt.Errorf("%w: it has %d characters", errKeyFormat, len(s))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != KeyLen {
		return errKeyFormat
	}
	copy(b[:], raw)
	clear(raw)
	return nil
}

func (k *PrivateKey) clamp() {
	k.b[0] &= 248
	k.b[31] = k.b[31]&127 | 64
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() PublicKey {
	var p PublicKey
	curve25519.ScalarBaseMult((*[KeyLen]byte)(&p), &k.b)
	return p
}

// IsZero reports whether k is no key.
func (k PrivateKey) IsZero() bool { return isZero(&k.b) }

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// IsZero reports whether k is no key.
func (k PresharedKey) IsZero() bool { return isZero(&k.b) }

// IsLowOrder reports whether k is one of the few points, the zero key among
// them, with which every private key gives the same, known secret. An Engine
// never speaks to such a peer.
func (k PublicKey) IsLowOrder() bool {
	// The product with any one clamped scalar tells: a scalar is a multiple
	// of the cofactor, and never of the order of the rest (RFC 7748 §5, §6.1).
	scalar := PrivateKey{b: [KeyLen]byte{1}}
	scalar.clamp()
	_, err := dh(&scalar.b, (*[KeyLen]byte)(&k))
	return err != nil
}

func isZero(b *[KeyLen]byte) bool {
	var zero [KeyLen]byte
	return subtle.ConstantTimeCompare(b[:], zero[:]) == 1
}

// Equal reports, in constant time, whether k and l are the same key.
func (k PrivateKey) Equal(l PrivateKey) bool {
	return subtle.ConstantTimeCompare(k.b[:], l.b[:]) == 1
}

// Zero overwrites the key.
func (k *PrivateKey) Zero() { clear(k.b[:]) }

// Zero overwrites the key.
func (k *PresharedKey) Zero() { clear(k.b[:]) }

// Base64 returns the secret itself, for the few who must write it down: genkey,
// and the configuration file of a new peer.
func (k PrivateKey) Base64() string { return base64.StdEncoding.EncodeToString(k.b[:]) }

// Base64 returns the secret itself, see [PrivateKey.Base64].
func (k PresharedKey) Base64() string { return base64.StdEncoding.EncodeToString(k.b[:]) }

// String returns the base64 of k.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Short returns the first eight characters of k, for logs.
func (k PublicKey) Short() string { return k.String()[:8] }

// String returns "(hidden)", so that no %v can leak the key.
func (PrivateKey) String() string { return hidden }

// GoString returns "(hidden)", so that no %#v can leak the key.
func (PrivateKey) GoString() string { return hidden }

// Format writes "(hidden)" for every verb.
func (PrivateKey) Format(f fmt.State, _ rune) { f.Write([]byte(hidden)) }

// LogValue returns "(hidden)".
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// String returns "(hidden)", so that no %v can leak the key.
func (PresharedKey) String() string { return hidden }

// GoString returns "(hidden)", so that no %#v can leak the key.
func (PresharedKey) GoString() string { return hidden }

// Format writes "(hidden)" for every verb.
func (PresharedKey) Format(f fmt.State, _ rune) { f.Write([]byte(hidden)) }

// LogValue returns "(hidden)".
func (PresharedKey) LogValue() slog.Value { return slog.StringValue(hidden) }
