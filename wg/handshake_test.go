package wg

import (
	"testing"
	"time"
)

// §5, figure: initiation, response, and the initiator speaks first.
func TestAHandshakeTakesOneRoundTrip(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	if len(w.log) != 3 || w.log[0].kind != typeInitiation || w.log[1].kind != typeResponse || w.log[2].kind != typeData {
		t.Fatalf("want initiation, response, keepalive, got:%s", describe(w.log))
	}
	if w.log[2].size != minDataLen {
		t.Fatalf("the confirming keepalive has %d bytes, want %d", w.log[2].size, minDataLen)
	}
	if a.peer().rtt != 2*w.Weather.Delay {
		t.Fatalf("the round trip took %v, want %v", a.peer().rtt, 2*w.Weather.Delay)
	}
	for _, n := range []*node{a, b} {
		if n.count(SessionUp) != 1 {
			t.Fatalf("%d sessions are up, want 1", n.count(SessionUp))
		}
	}
}

// Both start at the same moment: the state of the initiator and that of the
// responder are apart, so neither waits for a timeout.
func TestSimultaneousInitiationsDoNotStall(t *testing.T) {
	w := newWorld(t, 9)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofA.Endpoint = endpointAt(a.Addr())
	a.peers(ofB)
	b.peers(ofA)
	a.send(toB(60))
	b.send(toA(60))
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
	w.mustGet(a, toA(60))
	for range 1000 { // and the two sessions do not get into each other's way
		a.send(toB(60))
		b.send(toA(60))
		w.run(time.Second)
	}
	if len(a.got) != 1000 || len(b.got) != 1000 {
		t.Fatalf("%d and %d packets of 1000 came out", len(a.got), len(b.got))
	}
}

// §6.3, key confirmation: the responder does not send before it has heard.
func TestTheResponderWaitsForConfirmation(t *testing.T) {
	w, a, b := newPair(t, 10)
	w.run(15 * time.Millisecond) // the initiation has arrived, the response is under way
	if b.peer().upcoming == nil || b.peer().current.Load() != nil {
		t.Fatal("the responder's session is not waiting")
	}
	b.send(toA(60))
	if n := len(b.sent(typeData)); n != 0 {
		t.Fatalf("the responder sent %d data messages before the initiator's first", n)
	}
	a.Deaf(false)
	w.run(time.Second)
	w.mustGet(a, toA(60))
}

// A peer that restarted knows nothing; the first packet to it shows that.
func TestARestartedPeerIsFoundAgain(t *testing.T) {
	w, a, b := newPair(t, 12)
	a.send(toB(60))
	w.run(30 * time.Second)
	ofA, _ := w.pairConfig(a, b)
	b.restart()
	b.peers(ofA)
	b.got = nil
	for range 30 {
		a.send(toB(61))
		w.run(time.Second)
	}
	if len(b.got) < 10 {
		t.Fatalf("after the peer's restart %d packets of 30 came through", len(b.got))
	}
}

// §5.1; noise.c: a replayed initiation is not answered.
func TestReplayedInitiationsAreNotAnswered(t *testing.T) {
	w, a, b := newPair(t, 14)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	w.run(time.Second)
	for range 3 {
		w.fly(a.Addr(), b.Addr(), init, 0)
		w.run(time.Second)
	}
	if n := len(b.sent(typeResponse)); n != 1 {
		t.Fatalf("%d responses were sent, want 1", n)
	}
}

// noise.c, INITIATIONS_PER_SECOND: at most one initiation of a peer in 20 ms.
func TestInitiationsOfOnePeerAreLimited(t *testing.T) {
	w, a, b := newPair(t, 14)
	w.Weather.Delay = 0
	w.run(time.Second)
	var h initiation
	for i := range 40 { // one every 5 ms for 200 ms
		h = initiation{index: uint32(i)}
		ts := newTimestamp(time.Unix(2e9+int64(i), 0), timestamp{})
		if err := a.core.self.Load().makeInitiation(&h, a.peer(), ts, a.core.random); err != nil {
			t.Fatal(err)
		}
		a.peer().jar.addMACs(w.now, h.msg[:], a.peer().key)
		w.fly(a.Addr(), b.Addr(), h.msg[:], 0)
		w.run(5 * time.Millisecond)
	}
	if n := len(b.sent(typeResponse)) - 1; n != 10 {
		t.Fatalf("%d of 40 initiations in 200 ms were answered, want 10", n)
	}
}

// noise.c: a private key that belongs to a peer of ours is ourselves.
func TestOurselvesAreNotAPeer(t *testing.T) {
	w := newWorld(t, 17)
	a := w.add(outsideA)
	a.peers(Peer{PublicKey: a.key.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)})
	w.run(time.Minute)
	if len(w.log) != 0 || len(a.core.roster.Load().byKey) != 0 {
		t.Fatal("we are our own peer")
	}
}

func TestAChangedPresharedKeyIsForTheNextHandshake(t *testing.T) {
	w, a, b := newPair(t, 18)
	w.run(10 * time.Second)
	psk := NewPresharedKey()
	ofA, ofB := w.pairConfig(a, b)
	ofA.PresharedKey, ofB.PresharedKey = psk, psk
	n := len(w.log)
	a.peers(ofB)
	b.peers(ofA)
	a.send(toB(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	if len(w.log) != n+1 {
		t.Fatalf("the session did not survive:%s", describe(w.log[n:]))
	}
	for range 150 {
		a.send(toB(60))
		w.run(time.Second)
	}
	if a.count(SessionUp) != 2 || len(b.got) != 150 {
		t.Fatalf("%d sessions and %d packets, want 2 and 150", a.count(SessionUp), len(b.got))
	}
}

func TestADifferentPresharedKeyMakesNoSession(t *testing.T) {
	w, a, b := newPair(t, 18, func(x, _ *Peer) { x.PresharedKey = NewPresharedKey() })
	a.send(toB(60))
	w.run(time.Minute)
	w.mustGet(b)
	if a.count(SessionUp)+b.count(SessionUp) != 0 {
		t.Fatal("a session came up although the preshared keys differ")
	}
}
