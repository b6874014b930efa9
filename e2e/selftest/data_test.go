package selftest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// netns.sh, tests(): pings and iperf3 over IPv4 and IPv6, with IPv4 and IPv6
// outside, at the usual MTU and at 34816 - 80. Outside the MTU is 1500 here, so
// that the big packets travel as fragments; 1280 is the least that IPv6 allows.
func TestTrafficPasses(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			need(t, "iperf3")
			w := newWorld(t, p)
			w.reach(outer)
			w.load("4M", 5)
			w.mtu(1280)
			w.load("2M")
			if n := w.a.fragments(outer) + w.b.fragments(outer); n > 0 {
				t.Errorf("%d fragments are sent at an MTU that needs none", n)
			}
			w.mtu(34736)
			w.load("4M")
			if n, m := w.a.fragments(outer), w.b.fragments(outer); n < 100 || m < 100 {
				t.Errorf("a sends %d fragments and b %d: the MTU was not used", n, m)
			}
		})
	})
}

// fragments returns how many h has sent, by proc_net_snmp(5) and its sibling.
func (h *host) fragments(f family) int {
	h.t.Helper()
	if f == v6 {
		return number(h.t, h.run("cat", "/proc/self/net/snmp6"), "Ip6FragCreates")
	}
	// Two lines: names and, in the same order, numbers.
	lines := strings.SplitN(h.run("cat", "/proc/self/net/snmp"), "\n", 3)
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	i := slices.Index(names, "FragCreates")
	if i < 0 || i >= len(values) {
		h.t.Fatalf("no FragCreates in %q", lines[0])
	}
	return number(h.t, "FragCreates "+values[i], "FragCreates")
}

// number returns the number behind a name, each pair on a line.
func number(t *testing.T, table, name string) int {
	t.Helper()
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s is not counted here", name)
	return 0
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
			// In less than the five seconds after which wireguard-go may shake hands
			// once more: see distant.
			w.b.run("ping", "-q", "-c", "9", "-i", "0.01", "-W", "20", insideA4)
			w.b.pingOnce(1, insideA4) // behind the others
			w.wantSameCounts()        // wireguard-go counts a moment after it has sent
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
