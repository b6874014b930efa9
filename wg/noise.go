package wg

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"

	"adit/wg/aead"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
)

// The names that go into the hash before everything else (§5.4).
const (
	construction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
	identifier   = "WireGuard v1 zx2c4 Jason@zx2c4.com"
)

var (
	errLowOrder = errors.New("the point has low order")
	errBadTag   = errors.New("the tag is wrong")
)

// A noiseState is the symmetric state of a handshake: chaining key and hash.
type noiseState struct {
	chain [blake2s.Size]byte // C of §5.4
	hash  [blake2s.Size]byte // H of §5.4
}

// newNoiseState returns the state before the first message to responder.
func newNoiseState(responder PublicKey) noiseState {
	var s noiseState
	s.chain = blake2s.Sum256([]byte(construction))
	s.hash = s.chain
	s.mixHash([]byte(identifier))
	s.mixHash(responder[:])
	return s
}

// clear forgets the state.
func (s *noiseState) clear() { *s = noiseState{} }

// mixHash does H := Hash(H ‖ data).
func (s *noiseState) mixHash(data []byte) {
	h, _ := blake2s.New256(nil)
	h.Write(s.hash[:])
	h.Write(data)
	h.Sum(s.hash[:0])
}

// mixKey does C := KDF1(C, data).
func (s *noiseState) mixKey(data []byte) { kdf(&s.chain, data, &s.chain) }

// mixKey2 does (C, k) := KDF2(C, data).
func (s *noiseState) mixKey2(data []byte) (k [32]byte) {
	kdf(&s.chain, data, &s.chain, &k)
	return k
}

// mixPSK does (C, τ, k) := KDF3(C, psk); H := Hash(H ‖ τ).
func (s *noiseState) mixPSK(psk *PresharedKey) (k [32]byte) {
	var tau [32]byte
	kdf(&s.chain, psk.b[:], &s.chain, &tau, &k)
	s.mixHash(tau[:])
	clear(tau[:])
	return k
}

// mixDH does C := KDF1(C, DH(private, public)).
func (s *noiseState) mixDH(private *[32]byte, public *[32]byte) error {
	shared, err := dh(private, public)
	if err != nil {
		return err
	}
	s.mixKey(shared[:])
	clear(shared[:])
	return nil
}

// seal writes AEAD(k, 0, plain, H) to dst, mixes it into H, and forgets k. dst
// is longer than plain by the tag.
func (s *noiseState) seal(dst []byte, k *[32]byte, plain []byte) {
	cipher := aead.New(k)
	var nonce [chacha20poly1305.NonceSize]byte
	cipher.Seal(dst[:0], nonce[:], plain, s.hash[:])
	s.mixHash(dst)
	aead.Wipe(cipher)
	clear(k[:])
}

// open writes the plain text of sealed to dst, mixes sealed into H, and
// forgets k.
func (s *noiseState) open(dst []byte, k *[32]byte, sealed []byte) error {
	cipher := aead.New(k)
	var nonce [chacha20poly1305.NonceSize]byte
	_, err := cipher.Open(dst[:0], nonce[:], sealed, s.hash[:])
	aead.Wipe(cipher)
	clear(k[:])
	if err != nil {
		return errBadTag
	}
	s.mixHash(sealed)
	return nil
}

// transportKeys returns the keys of the session: the initiator's sending key
// first (§5.4.5). The state is forgotten.
func (s *noiseState) transportKeys() (initiator, responder [32]byte) {
	kdf(&s.chain, nil, &initiator, &responder)
	s.clear()
	return initiator, responder
}

// kdf is KDFn of §5.4: HKDF with HMAC-BLAKE2s, n = len(out).
func kdf(chain *[32]byte, input []byte, out ...*[32]byte) {
	var secret [32]byte
	hmacBlake2s(secret[:0], chain[:], input)
	var prev []byte
	for i, o := range out {
		var t [32]byte
		hmacBlake2s(t[:0], secret[:], prev, []byte{byte(i + 1)})
		*o = t
		prev = o[:]
	}
	clear(secret[:])
}

func hmacBlake2s(dst, key []byte, parts ...[]byte) {
	h := hmac.New(func() hash.Hash { h, _ := blake2s.New256(nil); return h }, key)
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(dst)
}

// dh returns the Curve25519 product, or errLowOrder if it is all zero: such a
// point would make the secret one that everybody knows.
func dh(private, public *[32]byte) (shared [32]byte, err error) {
	b, err := curve25519.X25519(private[:], public[:])
	if err != nil {
		return shared, fmt.Errorf("%w: %w", errLowOrder, err)
	}
	copy(shared[:], b)
	clear(b)
	return shared, nil
}
