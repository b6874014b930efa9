package selftest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"adit/e2e/suite"
)

// behindNAT puts a behind a translation of addresses whose UDP mappings live
// for two seconds.
func (w *world) behindNAT() {
	w.t.Helper()
	w.middle.nft(`table ip nat {
		chain post { type nat hook postrouting priority srcnat; oifname "tob" ip saddr 10.0.1.0/24 snat to 10.0.2.1; }
	}`)
	w.middle.sysctl("netfilter/nf_conntrack_udp_timeout", "2")
	w.middle.sysctl("netfilter/nf_conntrack_udp_timeout_stream", "2")
}

// isMapped reports whether the middle knows a flow of a's datagrams.
func (w *world) isMapped() bool {
	w.t.Helper()
	return strings.Contains(w.middle.run("cat", connections), fmt.Sprintf("sport=%d dport=%d", portA, portB))
}

const connections = "/proc/self/net/nf_conntrack"

// netns.sh, "Test using NAT": a keepalive each second holds a mapping of two
// seconds open, so that b can speak first at any time.
func TestKeepaliveHoldsAMappingOpen(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		need(t, "nft")
		if _, err := os.Stat(connections); err != nil {
			suite.Skip(t, "the kernel does not list its mappings: %v", err)
		}
		w := newWorld(t, p)
		w.behindNAT()
		w.a.set("peer %s endpoint %s persistent-keepalive 1", w.b.key.Public, v4.endpointB())
		w.a.ping(1, insideB4)
		w.b.ping(1, insideA4)
		w.b.want("endpoints", fmt.Sprintf("%s\t%s:%d", w.a.key.Public, middleB4, portA))
		during(t, 4*time.Second, "the mapping is held open", w.isMapped)
		w.b.pingOnce(1, insideA4)
		w.a.set("peer %s persistent-keepalive 0", w.b.key.Public)

		// The control: without them the mapping is gone, and b speaks to a wall.
		eventually(t, "the mapping is gone", func() bool { return !w.isMapped() })
		w.b.silent(insideA4)
		w.a.ping(1, insideB4) // a opens it again
		w.b.ping(1, insideA4)
	})
}

// netns.sh: "that sk_bound_dev_if works", and "when the mark changes and the
// packet must be rerouted".
func TestBoundAndMarkedSocketsGoThrough(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		need(t, "nft")
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4, "-I", w.a.name)
		w.a.nft(`table ip mangle {
			chain output { type route hook output priority mangle; meta mark set 1; }
		}`)
		w.a.ping(1, insideB4)
		w.a.ping(1, insideB4, "-I", w.a.name)
	})
}
