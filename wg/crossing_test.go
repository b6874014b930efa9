package wg

import (
	"testing"
	"time"
)

// crossing returns two nodes that both begin at the same moment, or b a little
// later, so that their initiations meet half-way.
func crossing(t *testing.T, seed uint64, later time.Duration) (w *world, a, b *node) {
	t.Helper()
	w = newWorld(t, seed)
	w.Weather.Delay = 50 * time.Millisecond
	a, b = w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofA.Endpoint = endpointAt(a.Addr())
	a.core.setPeers(w.now, []Peer{ofB}, false, a.out)
	b.core.setPeers(w.now, []Peer{ofA}, false, b.out)
	a.send(toB(60))
	w.run(later)
	b.send(toA(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	w.mustGet(a, toA(60))
	return w, a, b
}

// Both handshakes are good; then both sides send in the same session, whichever
// was complete first, and whichever was confirmed first.
func TestInitiationsThatCrossAgreeOnOneSession(t *testing.T) {
	for seed := range uint64(16) {
		w, a, b := crossing(t, seed, time.Duration(seed%8)*6*time.Millisecond)
		a.send(toB(60))
		b.send(toA(60))
		w.run(time.Second)
		mine, yours := a.peer().current.Load(), b.peer().current.Load()
		if mine.local != yours.remote || mine.remote != yours.local {
			t.Errorf("seed %d: one sends in %08x→%08x, the other in %08x→%08x",
				seed, mine.local, mine.remote, yours.local, yours.remote)
		}
		if mine.initiator == yours.initiator {
			t.Errorf("seed %d: nobody, or both, will renew the session", seed)
		}
	}
}

// §6.2: renewing a session loses nothing, however it came about.
func TestNothingIsLostWhenASessionThatCrossedIsRenewed(t *testing.T) {
	for seed := range uint64(8) {
		w, a, b := crossing(t, seed, time.Duration(seed)*6*time.Millisecond)
		a.got, b.got = nil, nil
		const n = 140 * 20
		for range n {
			a.send(toB(60))
			b.send(toA(60))
			w.run(50 * time.Millisecond)
		}
		w.run(time.Second)
		if len(a.got) != n || len(b.got) != n {
			t.Errorf("seed %d: %d and %d packets of %d came", seed, len(a.got), len(b.got), n)
		}
		if inits := len(a.sent(typeInitiation)) + len(b.sent(typeInitiation)); inits != 3 {
			t.Errorf("seed %d: %d initiations, want the two that crossed and one", seed, inits)
		}
	}
}

// A peer that answered, was started anew and begins by itself has not crossed
// anything: it does not know the session that it answered for.
func TestAPeerThatRestartedAfterAnsweringIsFollowed(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, seed)
		a, b := w.add(outsideA), w.add(outsideB)
		ofA, ofB := w.pairConfig(a, b)
		ofA.Endpoint = endpointAt(a.Addr())
		b.core.setPeers(w.now, []Peer{ofA}, false, b.out)
		a.peers(ofB)
		w.run(2 * time.Second)
		b.restart()
		b.peers(ofA)
		w.run(time.Second)
		a.send(toB(60))
		b.send(toA(60))
		w.run(time.Second)
		if len(a.got) != 1 || len(b.got) != 1 {
			t.Errorf("seed %d: %d and %d packets came, want 1 and 1", seed, len(a.got), len(b.got))
		}
	}
}

// The same on a network that lets datagrams overtake each other: an initiation
// may come after the response that its sender made later.
func TestInitiationsThatCrossAndAreOvertakenAgreeOnOneSession(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed)
		w.Weather.Delay, w.Weather.Jitter = 20*time.Millisecond, 60*time.Millisecond
		a, b := w.add(outsideA), w.add(outsideB)
		ofA, ofB := w.pairConfig(a, b)
		ofA.Endpoint = endpointAt(a.Addr())
		a.core.setPeers(w.now, []Peer{ofB}, false, a.out)
		b.core.setPeers(w.now, []Peer{ofA}, false, b.out)
		a.send(toB(60))
		w.run(time.Duration(seed%5) * 10 * time.Millisecond)
		b.send(toA(60))
		w.run(4 * time.Second)
		a.send(toB(61))
		b.send(toA(61))
		w.run(time.Second)
		mine, yours := a.peer().current.Load(), b.peer().current.Load()
		if mine.local != yours.remote || mine.remote != yours.local {
			t.Errorf("seed %d: one sends in %08x→%08x, the other in %08x→%08x",
				seed, mine.local, mine.remote, yours.local, yours.remote)
		}
		if len(a.got) != 2 || len(b.got) != 2 {
			t.Errorf("seed %d: %d and %d packets of 2 came", seed, len(a.got), len(b.got))
		}
	}
}
