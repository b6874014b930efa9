package selftest

import (
	"testing"

	"adit/e2e/peer"
)

// netns.sh, "that we can route wg through wg": the endpoints of the inner tunnel
// are addresses of the outer one.
func TestTunnelThroughTheTunnel(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		need(t, "iperf3")
		const port = 5
		w := newWorld(t, p)
		w.reach(v4)
		const outerA, outerB = "fd00:0:5::1", "fd00:0:5::2"
		w.a.ip("addr flush dev %s", w.a.name)
		w.b.ip("addr flush dev %s", w.b.name)
		w.a.address(outerA + "/112")
		w.b.address(outerB + "/112")
		w.a.set("peer %s allowed-ips %s/128", w.b.key.Public, outerB)
		w.b.set("peer %s allowed-ips %s/128", w.a.key.Public, outerA)

		inner := &world{t: t, middle: w.middle, a: startDevice(w.a.host, p.a), b: startDevice(w.b.host, p.b)}
		inner.configure(port, port)
		inner.mtu(1340)
		inner.a.set("peer %s endpoint [%s]:%d", inner.b.key.Public, outerB, port)
		inner.b.set("peer %s endpoint [%s]:%d", inner.a.key.Public, outerA, port)
		inner.load("1M")
		if c := w.a.transfer(w.b.key.Public); c.sent < 1<<20 || c.received < 1<<20 {
			t.Errorf("the outer tunnel carried %+v: the inner one went around it", c)
		}
	})
}

// netns.sh, "that onion routing works, even when it loops": a third peer lives
// at an inside address of the second. Then its endpoint is an address of its
// own, and what is sent to it is for it: nothing arrives, and nothing breaks.
// Linux gives up on a packet that goes round when it has grown beyond the MTU;
// to a process every round is a new packet.
func TestPeerBehindAPeer(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		const port = 5
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		third := startDevice(w.b.host, p.b)
		w.a.set("peer %s allowed-ips 192.168.242.2/32 endpoint %s:%d", third.key.Public, insideB4, port)
		w.a.address("192.168.242.1/24")
		third.set("private-key @%s listen-port %d peer %s allowed-ips 192.168.242.1/32", third.key.Private, port, w.a.key.Public)
		third.address("192.168.242.2/24")
		third.up()
		w.a.ping(1, "192.168.242.2")
		third.ip("link del %s", third.name)

		// With the session that there is it goes round until somebody ends it.
		w.a.set("peer %s endpoint 192.168.242.2:%d", third.key.Public, port)
		w.a.silent("192.168.242.2")
		w.a.set("peer %s remove", third.key.Public)
		w.a.ping(1, insideB4)
		// Without one there is none to be had.
		w.a.set("peer %s allowed-ips 192.168.242.2/32 endpoint 192.168.242.2:%d", third.key.Public, port)
		w.a.silent("192.168.242.2")
		if n := w.a.transfer(third.key.Public).sent; n == 0 || n > 2*initiationLen {
			t.Errorf("%d bytes are sent into the loop, want one initiation or two", n)
		}
		w.a.ping(1, insideB4)
	})
}

// netns.sh, "a routing loop between the two namespaces": the endpoint of a
// device's peer is reached through the device itself, before there is a session.
// An initiation waits for a session that needs an initiation, and no more than
// that is sent.
func TestRoutingLoopStops(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		d := startDevice(newHost(t, "a"), e)
		d.set("private-key @%s peer %s allowed-ips 0.0.0.0/0 endpoint 192.168.241.2:7", d.key.Private, peer.NewKey().Public)
		d.address(insideA4 + "/24")
		d.up()
		d.silent(insideB4)
		key := d.show("peers")
		if n := d.transfer(key).sent; n == 0 || n > 2*initiationLen {
			t.Errorf("%d bytes are sent into the loop, want one initiation or two", n)
		}
	})
}
