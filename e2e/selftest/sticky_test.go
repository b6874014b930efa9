package selftest

import (
	"fmt"
	"testing"
)

// netns.sh, "we aren't overly sticky and can fall over to new IPs when old ones
// are removed": the source address that was used so far is gone, and the next
// packet goes out from the new one.
func TestRemovedSourceAddressIsForgotten(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			w := newCable(t, p)
			w.a.sysctl("ipv4/conf/eth0/promote_secondaries", "1")
			one, two, far, flags := "10.0.0.1/24", "10.0.0.10/24", "10.0.0.2", ""
			if outer == v6 {
				one, two, far, flags = "fd00:aa::1/96", "fd00:aa::10/96", "fd00:aa::2", "nodad"
			}
			w.a.ip("addr add %s dev eth0 %s", one, flags)
			w.b.ip("addr add %s%s dev eth0 %s", far, two[len(two)-3:], flags)
			w.a.set("peer %s endpoint %s", w.b.key.Public, outer.choose(far, far, portB))
			w.a.ping(1, insideB4)
			w.a.ip("addr add %s dev eth0 %s", two, flags)
			w.a.ip("addr del %s dev eth0", one)
			w.a.ping(1, insideB4)
			w.b.wantEndpoint(w.a.key.Public, outer.choose(two[:len(two)-3], two[:len(two)-3], portA))
		})
	})
}

// sticky reports whether an engine answers from the address that was reached, as
// Linux does. wireguard-go forgets it when the kernel hands it several datagrams
// in one (UDP_GRO), which it asks for always: the control data is not copied to
// the parts (conn/gso_linux.go, splitCoalescedMessages in bind_std.go).
func (e engine) sticky() bool { return e.name != wireguardGo.name }

// netns.sh, "reply to sender routing": a host with two addresses answers from the
// one that was asked, so that the asker goes on to see it there.
func TestAnswersComeFromTheAddressThatWasReached(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			w := newCable(t, p)
			for _, n := range []string{"1", "2"} {
				w.a.ip("addr add 10.0.0.%s/24 dev eth0", n)
				w.a.ip("addr add fd00:aa::%s/96 dev eth0 nodad", n)
			}
			w.b.ip("addr add 10.0.0.3/24 dev eth0")
			w.b.ip("addr add fd00:aa::3/96 dev eth0 nodad")
			seen := w.b.watch("eth0")
			for _, n := range []string{"1", "2", "1"} {
				endpoint := outer.choose("10.0.0."+n, "fd00:aa::"+n, portA)
				w.b.set("peer %s endpoint %s", w.a.key.Public, endpoint)
				w.b.pingOnce(2, insideA4)
				if !p.a.sticky() {
					continue
				}
				w.b.want("endpoints", w.a.key.Public+"\t"+endpoint)
				eventually(t, "something came from "+endpoint, func() bool { return len(seen.from(endpoint)) > 0 })
			}
		})
	})
}

// netns.sh, "the inbound destination address belongs to a different interface as
// the default route".
func TestAnswersComeFromAnotherInterfacesAddress(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			w := newCable(t, p)
			cable(w.a.host, "other0", newHost(t, "elsewhere"), "eth0")
			w.a.ip("addr add 10.0.0.1/24 dev eth0")
			w.a.ip("addr add fd00:aa::1/96 dev eth0 nodad")
			w.a.ip("addr add 10.50.0.1/24 dev other0")
			w.a.ip("addr add fd00:bb::1/96 dev other0 nodad")
			w.b.ip("addr add 10.0.0.3/24 dev eth0")
			w.b.ip("addr add fd00:aa::3/96 dev eth0 nodad")
			w.b.ip("route add 10.50.0.0/24 dev eth0")
			w.b.ip("-6 route add fd00:bb::/96 via fd00:aa::1")
			endpoint := outer.choose("10.50.0.1", "fd00:bb::1", portA)
			w.b.set("peer %s endpoint %s", w.a.key.Public, endpoint)
			w.b.pingOnce(3, insideA4)
			if p.a.sticky() {
				w.b.want("endpoints", w.a.key.Public+"\t"+endpoint)
			}
		})
	})
}

// netns.sh, "if another interface route takes precedence over an ongoing one":
// the packets follow the better route, with its source address.
func TestBetterRouteIsFollowed(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newCable(t, p)
		cable(w.a.host, "eth1", w.b.host, "eth1")
		for _, h := range []*host{w.a.host, w.b.host} {
			for _, key := range []string{"all", "eth0", "eth1"} {
				h.sysctl("ipv4/conf/"+key+"/rp_filter", "0")
			}
		}
		w.a.ip("addr add 10.0.0.1/24 dev eth0")
		w.b.ip("addr add 10.0.0.2/24 dev eth0")
		w.a.ip("addr add 10.0.0.3/24 dev eth1")
		w.a.ip("route flush dev eth0")
		w.a.ip("route flush dev eth1")
		w.a.ip("route add 10.0.0.0/24 dev eth0 src 10.0.0.1 metric 2")
		w.a.set("peer %s endpoint 10.0.0.2:%d", w.b.key.Public, portB)
		w.a.ping(1, insideB4)
		w.b.wantEndpoint(w.a.key.Public, fmt.Sprintf("10.0.0.1:%d", portA))
		w.a.ip("route add 10.0.0.0/24 dev eth1 src 10.0.0.3 metric 1")
		eventually(t, "datagrams go the better way, from the address there", func() bool {
			w.a.ping(1, insideB4) // adit waits a moment for more news of the kind
			got, _ := w.b.of(w.a.key.Public, "endpoints")
			return got == fmt.Sprintf("10.0.0.3:%d", portA)
		})
	})
}

// A mark that leads another way is followed at once, also by answers: what still
// comes the old way does not bring its address back (socket.c, send4, asks with each
// datagram).
func TestMarkThatLeadsAnotherWayIsFollowed(t *testing.T) {
	eachOfAdit(t, func(t *testing.T, p pair) {
		w := newCable(t, p)
		cable(w.a.host, "eth1", w.b.host, "eth1")
		for _, h := range []*host{w.a.host, w.b.host} {
			for _, key := range []string{"all", "eth0", "eth1"} {
				h.sysctl("ipv4/conf/"+key+"/rp_filter", "0")
			}
		}
		w.a.ip("addr add 10.0.0.1/24 dev eth0")
		w.b.ip("addr add 10.0.0.2/24 dev eth0")
		w.a.ip("addr add 10.1.0.1/24 dev eth1")
		w.b.ip("addr add 10.1.0.2/24 dev eth1")
		w.a.ip("route add 10.0.0.2/32 dev eth1 src 10.1.0.1 table 7")
		w.a.ip("rule add fwmark 7 lookup 7")
		w.a.set("peer %s endpoint 10.0.0.2:%d", w.b.key.Public, portB)
		w.a.ping(1, insideB4)
		w.b.wantEndpoint(w.a.key.Public, fmt.Sprintf("10.0.0.1:%d", portA))
		w.a.set("fwmark 7")
		w.b.ping(1, insideA4)
		w.b.wantEndpoint(w.a.key.Public, fmt.Sprintf("10.1.0.1:%d", portA))
	})
}
