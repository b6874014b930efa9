package wg

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"
)

// The points of low order, as netns.sh of the kernel lists them: whoever holds
// one of these as a peer's key shares a secret with everybody.
var lowOrderPoints = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func lowOrder(t *testing.T, i int) (k PublicKey) {
	b, err := hex.DecodeString(lowOrderPoints[i])
	if err != nil {
		t.Fatal(err)
	}
	return PublicKey(b)
}

// An ephemeral is a handshake's public key, and the secrets that go with it.
type ephemeral struct {
	public   PublicKey
	dh       func(public PublicKey) [32]byte
	lowOrder bool
}

// ephemerals are a good one, for which all goes well, and those for which every
// secret is zero, so that anybody could have made them.
func ephemerals(t *testing.T) []ephemeral {
	t.Helper()
	key := NewPrivateKey()
	list := []ephemeral{{public: key.Public(), dh: func(public PublicKey) [32]byte {
		shared, err := dh(&key.b, (*[32]byte)(&public))
		if err != nil {
			t.Fatal(err)
		}
		return shared
	}}}
	for i := range lowOrderPoints {
		list = append(list, ephemeral{lowOrder(t, i), func(PublicKey) (zero [32]byte) { return }, true})
	}
	return list
}

// initiation returns an initiation from a to b with the ephemeral key e.
func (e *ephemeral) initiation(t *testing.T, a, b *node) []byte {
	t.Helper()
	m := make([]byte, initiationLen)
	binary.LittleEndian.PutUint32(m, typeInitiation)
	copy(m[initiationEphemeral:], e.public[:])
	from, to := a.key.Public(), b.key.Public()
	s := newNoiseState(to)
	s.mixKey(e.public[:])
	s.mixHash(e.public[:])
	shared := e.dh(to)
	k := s.mixKey2(shared[:])
	s.seal(m[initiationStatic:initiationTimestamp], &k, from[:])
	static, err := dh(&a.key.b, (*[32]byte)(&to))
	if err != nil {
		t.Fatal(err)
	}
	k = s.mixKey2(static[:])
	ts := newTimestamp(time.Unix(2e9, 0), timestamp{})
	s.seal(m[initiationTimestamp:initiationMAC1], &k, ts[:])
	new(cookieJar).addMACs(0, m, to)
	return m
}

// response returns a response to a's initiation h, which b alone can know the
// state of, with the ephemeral key e.
func (e *ephemeral) response(h *initiation, a *node) []byte {
	m := make([]byte, responseLen)
	binary.LittleEndian.PutUint32(m, typeResponse)
	binary.LittleEndian.PutUint32(m[responseReceiver:], h.index)
	copy(m[responseEphemeral:], e.public[:])
	theirs := (&PrivateKey{b: h.ephemeral}).Public()
	s := h.state
	s.mixHash(e.public[:])
	s.mixKey(e.public[:])
	for _, public := range []PublicKey{theirs, a.key.Public()} {
		shared := e.dh(public)
		s.mixKey(shared[:])
	}
	k := s.mixPSK(new(PresharedKey))
	s.seal(m[responseEmpty:responseMAC1], &k, nil)
	new(cookieJar).addMACs(0, m, a.key.Public())
	return m
}

// §5.4.2; noise.c, mix_dh: a secret that is zero is none.
func TestInitiationsWithALowOrderEphemeralAreNotAnswered(t *testing.T) {
	for i, e := range ephemerals(t) {
		w, a, b := newPair(t, 1)
		a.Deaf(true)
		w.run(time.Second)
		n, indices := len(b.sent(typeResponse)), len(b.core.index.m)
		w.fly(a.Addr(), b.Addr(), e.initiation(t, a, b), 0)
		w.run(time.Second)
		if answered := len(b.sent(typeResponse)) > n; answered == e.lowOrder {
			t.Errorf("ephemeral %d, of low order: %v; answered: %v", i, e.lowOrder, answered)
		}
		if e.lowOrder && len(b.core.index.m) != indices {
			t.Errorf("ephemeral %d: an index is left", i)
		}
	}
}

// §5.4.3; noise.c, mix_dh.
func TestResponsesWithALowOrderEphemeralMakeNoSession(t *testing.T) {
	for i, e := range ephemerals(t) {
		w, a, b := newPair(t, 1)
		b.Deaf(true)
		w.run(time.Second)
		w.fly(b.Addr(), a.Addr(), e.response(a.peer().handshake, a), 0)
		w.run(time.Second)
		if up := a.count(SessionUp) > 0; up == e.lowOrder {
			t.Errorf("ephemeral %d, of low order: %v; made a session: %v", i, e.lowOrder, up)
		}
	}
}
