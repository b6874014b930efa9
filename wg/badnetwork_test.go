package wg

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"adit/wg/wgtest"
)

// Seeds of trouble: whatever the network does, these hold.
func TestTwoEnginesOnABadNetwork(t *testing.T) {
	seeds := 24
	if testing.Short() {
		seeds = 6
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { badNetwork(t, seed) })
	}
}

func badNetwork(t *testing.T, seed uint64) {
	w, a, b := newPair(t, seed, func(x, _ *Peer) {
		if seed%2 == 0 {
			x.Endpoint = endpointAt(outsideA)
		}
	})
	w.Weather.Lose, w.Weather.Duplicate = float64(seed%4)*0.1, float64(seed%3)*0.1
	w.Weather.Jitter = time.Duration(seed%5) * 30 * time.Millisecond
	wantNoncesUsedOnce(t, w, a)
	sent := trouble(w, a, b, seed%2 == 1)
	came := wantPacketsOnce(t, a, b)
	for _, n := range []*node{a, b} {
		wantModest(t, n)
	}
	if want := int(float64(sent) * (1 - w.Weather.Lose) * 0.9); came < want {
		t.Fatalf("%d of %d packets came through, want at least %d", came, sent, want)
	}
	wantSilenceInTheEnd(t, w, a, b)
}

// wantNoncesUsedOnce fails as soon as a nonce is used a second time under one
// key, which a receiver index and a direction stand for.
func wantNoncesUsedOnce(t *testing.T, w *world, a *node) {
	used := map[string]bool{}
	w.tap = func(from, _ *node, d []byte) {
		if messageType(d) != typeData {
			return
		}
		key := fmt.Sprintf("%v %x", from == a, d[4:16])
		if used[key] {
			t.Fatalf("nonce used twice: %s", key)
		}
		used[key] = true
	}
}

// trouble sends packets both ways for a while, during which a's network
// changes, and its address too if a moves. It returns how many it sent.
func trouble(w *world, a, b *node, moves bool) int {
	sent := uint16(0)
	for range 2000 {
		switch r := w.Rand.IntN(100); {
		case r < 40:
			a.send(numbered(insideA, insideB, &sent))
		case r < 80:
			b.send(numbered(insideB, insideA, &sent))
		case r < 82 && moves:
			a.Move(netip.AddrPortFrom(outsideA.Addr(), uint16(2000+w.Rand.IntN(60000))))
		case r == 83:
			a.core.networkChanged(w.now, nil, a.out)
			a.deliver()
		}
		w.run(time.Duration(w.Rand.Int64N(int64(time.Second))))
	}
	return int(sent)
}

// wantPacketsOnce fails if one of the numbered packets came out twice, and
// returns how many came out.
func wantPacketsOnce(t *testing.T, nodes ...*node) int {
	t.Helper()
	seen := map[uint16]bool{}
	for _, n := range nodes {
		for _, pkt := range n.got {
			id := uint16(pkt[28])<<8 | uint16(pkt[29])
			if seen[id] {
				t.Fatalf("packet %d came out twice", id)
			}
			seen[id] = true
		}
	}
	return len(seen)
}

// wantModest fails if n keeps more than it may, or shook hands too often.
func wantModest(t *testing.T, n *node) {
	t.Helper()
	if len(n.peer().staged) > maxStaged {
		t.Fatalf("%d packets are staged", len(n.peer().staged))
	}
	if len(n.core.index.m) > 4 {
		t.Fatalf("%d indices are taken: something leaks", len(n.core.index.m))
	}
	inits := n.sent(typeInitiation)
	for i := 1; i < len(inits); i++ {
		if d := time.Duration(inits[i].at - inits[i-1].at); d < rekeyTimeout && d > 0 {
			t.Fatalf("two initiations within %v", d)
		}
	}
}

// wantSilenceInTheEnd fails unless, on a network that loses nothing and with
// nothing to send, both sides fall silent and forget their keys.
func wantSilenceInTheEnd(t *testing.T, w *world, a, b *node) {
	t.Helper()
	w.Weather.Lose = 0
	w.run(20 * time.Minute)
	if a.core.next() != 0 || b.core.next() != 0 {
		t.Fatal("the tunnel does not fall silent")
	}
	if left := len(a.core.index.m) + len(b.core.index.m); left != 0 {
		t.Fatalf("%d indices are taken although all keys should be gone", left)
	}
}

func numbered(from, to netip.AddrPort, n *uint16) []byte {
	*n++
	return wgtest.UDP(from, to, 60, []byte{byte(*n >> 8), byte(*n)})
}
