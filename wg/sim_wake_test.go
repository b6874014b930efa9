package wg

import (
	"fmt"
	"testing"
	"time"
)

// Resume to traffic: one round trip, and 100 ms, whoever slept, for however
// long. (Who wakes in the last moment of a key's life is out of luck: what is
// sent under it is too old when it comes.)
func TestWhoeverWakesTalksWithinARoundTrip(t *testing.T) {
	for _, asleep := range []time.Duration{
		time.Second, 30 * time.Second, 90 * time.Second, 160 * time.Second, 9 * time.Minute, 10 * time.Minute, time.Hour, 7 * 24 * time.Hour,
	} {
		for seed := range uint64(12) {
			for _, told := range []bool{true, false} {
				t.Run(fmt.Sprintf("%v/%d/%v", asleep, seed, told), func(t *testing.T) { wakes(t, asleep, seed, told) })
			}
		}
	}
}

// wakes lets one of two sleep in the middle of traffic, and wake; told says
// whether it hears of its sleep before its timers fire.
func wakes(t *testing.T, asleep time.Duration, seed uint64, told bool) {
	w, a, b := newPair(t, seed, func(a, _ *Peer) { a.Endpoint = endpointAt(outsideA) })
	w.Weather.Delay = time.Duration(1+seed*20) * time.Millisecond
	sleeper, other, pkt := a, b, toB(60)
	if seed%2 == 1 {
		sleeper, other, pkt = b, a, toA(60)
	}
	for range 1 + seed*3 {
		a.send(toB(60))
		b.send(toA(60))
		w.run(time.Second)
	}
	sleeper.Sleep()
	w.run(asleep)
	sleeper.Wake()
	if !told {
		sleeper.Advance(time.Duration(w.now))
	}
	sleeper.core.networkChanged(w.now, nil, sleeper.out)
	sleeper.deliver()
	sleeper.send(pkt)
	other.got = nil
	w.run(2*w.Weather.Delay + 100*time.Millisecond)
	if !sleeper.peer().current.Load().sendable(w.now) || len(sleeper.peer().staged) > 0 {
		t.Fatalf("nothing can be sent a round trip and 100 ms after waking")
	}
	w.run(w.Weather.Delay) // the packet's own way
	w.mustGet(other, pkt)
}

// §5.4.2, §5.4.3: what a handshake shows tells nothing: no count, no order.
// (Audits of other engines found indices that counted.)
func TestIndicesAndEphemeralKeysAreRandom(t *testing.T) {
	w, _, _ := newPair(t, 1, func(_, b *Peer) { b.Keepalive = 120 * time.Second })
	w.run(12 * time.Hour)
	w.Eve.SeesIndicesAtRandom(t)
	w.Eve.SeesEphemeralsAtRandom(t)
	w.Eve.NeverSeesANonceTwice(t)
}
