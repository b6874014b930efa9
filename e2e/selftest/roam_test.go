package selftest

import (
	"fmt"
	"testing"
)

// netns.sh, "that roaming works": a host gets another address and another port,
// and its peer is told by the next authenticated message alone (§2.1). Over
// both families, in both directions: the one that roams is side a, so that
// every engine roams and follows.
func TestPeerIsFollowedToAnotherPort(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			w := newWorld(t, p)
			w.reach(outer)
			w.a.ping(1, insideB4)
			for i, port := range []int{9999, 9998} {
				w.a.set("listen-port %d", port)
				w.a.want("listen-port", fmt.Sprint(port))
				w.a.ping(1, []string{insideB6, insideB4}[i])
				w.b.wantEndpoint(w.a.key.Public, outer.choose(outsideA4, outsideA6, port))
			}
			// And the other way, which finds the new place by what it was just told.
			w.b.ping(1, insideA4)
		})
	})
}

func TestPeerIsFollowedToAnotherAddress(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			w := newWorld(t, p)
			w.reach(outer)
			w.a.ping(1, insideB4)
			to4, to6 := "10.0.1.99", "fd01::99"
			w.a.ip("addr del %s/24 dev eth0", outsideA4)
			w.a.ip("addr del %s/64 dev eth0", outsideA6)
			w.a.ip("addr add %s/24 dev eth0", to4)
			w.a.ip("addr add %s/64 dev eth0 nodad", to6)
			w.a.ip("route replace default via %s", middleA4)
			w.a.ip("-6 route replace default via %s", middleA6)
			w.a.ping(1, insideB4)
			w.b.wantEndpoint(w.a.key.Public, outer.choose(to4, to6, portA))
			w.b.ping(1, insideA6)
		})
	})
}

// From IPv4 to IPv6 and back, by one side's decision alone. Without wireguard-go,
// which after IPv4 sends to the first four bytes of an IPv6 address (the pooled
// net.UDPAddr of conn/bind_std.go, Send, is copied to before it is lengthened).
func TestPeerIsFollowedToTheOtherFamily(t *testing.T) {
	t.Parallel()
	runPair(t, pair{adit, adit}, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		for _, outer := range []family{v6, v4, v6} {
			w.a.set("peer %s endpoint %s", w.b.key.Public, outer.endpointB())
			w.a.ping(1, insideB4)
			w.b.wantEndpoint(w.a.key.Public, outer.endpointA())
			w.b.ping(1, insideA4)
			w.a.wantEndpoint(w.b.key.Public, outer.endpointB())
		}
	})
}

// The control of the tests above: nobody is followed by a message that is not
// authentic (§2.1: "correctly authenticated").
func TestNobodyIsFollowedByForgedMessages(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		r := w.newRelay(nil)
		r.inject(r.toB, w.b.endpoint(v4), forgedData())
		w.a.ping(1, insideB4)
		w.b.want("endpoints", w.a.key.Public+"\t"+v4.endpointA())
	})
}
