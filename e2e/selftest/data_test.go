package selftest

import (
	"fmt"
	"testing"
	"time"
)

// netns.sh, tests(): pings and iperf3 over IPv4 and IPv6, with IPv4 and IPv6
// outside, at the usual MTU and at 34816 - 80. Outside the MTU is 1500 here, so
// that the big packets travel as fragments; at 1280 they are the least that
// IPv6 allows.
func TestTrafficPasses(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			need(t, "iperf3")
			w := newWorld(t, p)
			w.reach(outer)
			w.load("4M", 5)
			for _, mtu := range []int{34736, 1280} {
				w.mtu(mtu)
				w.load("4M")
			}
			if outer == v6 { // where netns.sh has its smallest MTU
				w.mtu(1420)
			}
		})
	})
}

// netns.sh: for max in 4 5 50.
func TestFiftyStreamsAtOnce(t *testing.T) {
	eachPairOnly(t, func(t *testing.T, p pair) {
		need(t, "iperf3")
		w := newWorld(t, p)
		w.reach(v4)
		w.load("512K", 4, 50)
	})
}

// netns.sh, "make sure that the stats counters and timestamper are working".
// The initiator sends an initiation (148 bytes, §5.4.2) and ten packets of 84
// bytes, padded to 96 (§5.4.6) with 32 of header and tag; it receives a response
// (92, §5.4.3) and ten answers. Linux may add one keepalive (32), when the
// response finds nothing staged.
func TestBytesAreCountedExactly(t *testing.T) {
	const (
		data      = 10 * (32 + 96)
		initiated = 148 + data
		answered  = 92 + data
		keepalive = 32
	)
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			w := newWorld(t, p)
			w.reach(outer)
			before := int(time.Now().Unix())
			w.b.pingOnce(10, insideA4)
			a, b := w.a.transfer(w.b.key.Public), w.b.transfer(w.a.key.Public)
			if b.received != answered || b.sent != initiated && b.sent != initiated+keepalive {
				t.Errorf("the initiator counts %+v, want %d received and %d or %d sent",
					b, answered, initiated, initiated+keepalive)
			}
			if (a != count{received: b.sent, sent: b.received}) {
				t.Errorf("the responder counts %+v, the initiator %+v", a, b)
			}
			for _, d := range []*device{w.a, w.b} {
				other := w.a.key.Public
				if d == w.a {
					other = w.b.key.Public
				}
				now := int(time.Now().Unix())
				if h := d.handshake(other); h < before || h > now {
					t.Errorf("on %s the last handshake was at %d, want between %d and %d", d.host.name, h, before, now)
				}
			}
			w.a.want("endpoints", fmt.Sprintf("%s\t%s", w.b.key.Public, outer.endpointB()))
		})
	})
}
