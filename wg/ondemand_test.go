package wg

import (
	"testing"
	"time"
)

// newQuietPair is newPair with an engine a whose handshakes are on demand. It
// knows of no peer yet.
func newQuietPair(t *testing.T) (w *world, a, b *node, ofB Peer) {
	t.Helper()
	w = newWorld(t, 1)
	a, b = w.add(outsideA), w.add(outsideB)
	a.core.onDemand = true
	ofA, ofB := w.pairConfig(a, b)
	b.peers(ofA)
	return w, a, b, ofB
}

// netlink.c, set_peer, sends nothing because of an endpoint: a WireGuard
// interface without traffic is silent.
func TestOnDemandAnEndpointAloneIsNotSpokenTo(t *testing.T) {
	w, a, b, ofB := newQuietPair(t)
	a.peers(ofB)
	a.core.connect(w.now)
	a.setKey(PrivateKey{b: [32]byte{8, 31: 64}}) // noise.c expires what there is, and no more
	w.run(time.Hour)
	if n := len(w.log); n != 0 {
		t.Fatalf("%d datagrams were sent, want none", n)
	}
	ofA, _ := w.pairConfig(a, b)
	b.peers(ofA)
	a.send(toB(60))
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
	if n := len(a.sent(typeInitiation)); n != 1 {
		t.Fatalf("%d initiations were sent, want 1", n)
	}
}

// netlink.c, set_peer: a persistent keepalive that is turned on is sent at once.
func TestOnDemandPersistentKeepaliveShakesHandsAtOnce(t *testing.T) {
	w, a, b, ofB := newQuietPair(t)
	ofB.Keepalive = 25 * time.Second
	a.peers(ofB)
	w.run(100 * time.Millisecond)
	if a.count(SessionUp) != 1 || b.count(SessionUp) != 1 {
		t.Fatal("there is no session")
	}
	// Another private key, and it goes on.
	a.setKey(PrivateKey{b: [32]byte{8, 31: 64}})
	ofA, _ := w.pairConfig(a, b)
	b.peers(ofA)
	w.run(10 * time.Second)
	if a.count(SessionUp) != 2 {
		t.Fatal("there is no session with the new key")
	}
}

// Rekey-Timeout is the only time between two initiations (§6.4).
func TestOnDemandInitiationsAreFiveSecondsApart(t *testing.T) {
	w, a, b, ofB := newQuietPair(t)
	w.Cut(a.Host, b.Host)
	a.peers(ofB)
	a.send(toB(60))
	w.run(16 * time.Second)
	var sent []sighting // copies too
	for _, l := range w.log {
		if l.from == a.Addr() && l.kind == typeInitiation {
			sent = append(sent, l)
		}
	}
	for i := 1; i < len(sent); i++ {
		if d := sent[i].at - sent[i-1].at; d < Instant(rekeyTimeout) {
			t.Errorf("initiation %d came %v after the one before", i, time.Duration(d))
		}
	}
	if n := len(sent); n != 3 && n != 4 {
		t.Errorf("%d initiations in 16 s, want 3 or 4", n)
	}
}

// wg_packet_send_keepalive stages the keepalive of a peer that has no endpoint
// yet, and set_peer sends what is staged: whichever is told first, keepalives
// begin when both are.
func TestOnDemandPersistentKeepaliveBeginsWithTheEndpoint(t *testing.T) {
	w, a, _, ofB := newQuietPair(t)
	at := ofB.Endpoint
	ofB.Endpoint, ofB.Keepalive = Endpoint{}, time.Second
	a.peers(ofB)
	w.run(time.Minute)
	if len(w.log) > 0 {
		t.Fatalf("without an endpoint there is%s", describe(w.log))
	}
	ofB.Endpoint = at
	a.peers(ofB)
	w.run(3500 * time.Millisecond)
	if n := len(a.sent(typeData)); n != 4 || len(a.sent(typeInitiation)) != 1 {
		t.Fatalf("want an initiation and four keepalives, got%s", describe(w.log))
	}
}
