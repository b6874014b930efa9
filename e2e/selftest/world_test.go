package selftest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"adit/e2e/peer"
)

// The ports that the engines listen on unless a test says otherwise. netns.sh
// has 1 and 2; these need no privilege.
const (
	portA = 51821
	portB = 51822
)

// Addresses inside the tunnel, and outside of it. See doc.go.
const (
	insideA4, insideA6 = "192.168.241.1", "fd00::1"
	insideB4, insideB6 = "192.168.241.2", "fd00::2"

	outsideA4, outsideA6 = "10.0.1.2", "fd01::2"
	outsideB4, outsideB6 = "10.0.2.2", "fd02::2"
	middleA4, middleA6   = "10.0.1.1", "fd01::1"
	middleB4, middleB6   = "10.0.2.1", "fd02::1"
)

// A world is a test's two hosts with their devices, and what is between them.
type world struct {
	t      *testing.T
	a, b   *device
	middle *host // nil where the hosts share a cable
	psk    string
}

// newWorld builds what doc.go draws. The peers know each other, but not where:
// see reach.
func newWorld(t *testing.T, p pair) *world {
	t.Helper()
	a, b, middle := newHost(t, "a"), newHost(t, "b"), newHost(t, "middle")
	route(a, "toa", outsideA4+"/24", outsideA6+"/64", middle, middleA4, middleA6)
	route(b, "tob", outsideB4+"/24", outsideB6+"/64", middle, middleB4, middleB6)
	middle.sysctl("ipv4/ip_forward", "1")
	middle.sysctl("ipv6/conf/all/forwarding", "1")
	w := &world{t: t, middle: middle}
	w.start(p, a, b)
	return w
}

// newCable builds two hosts that share one cable, on which they have no address
// yet: eth0 at both ends.
func newCable(t *testing.T, p pair) *world {
	t.Helper()
	a, b := newHost(t, "a"), newHost(t, "b")
	cable(a, "eth0", b, "eth0")
	w := &world{t: t}
	w.start(p, a, b)
	return w
}

// route lays a cable from a host's eth0 to the router, over which everything
// goes.
func route(h *host, port, v4, v6 string, router *host, via4, via6 string) {
	h.t.Helper()
	cable(h, "eth0", router, port)
	h.ip("addr add %s dev eth0", v4)
	h.ip("addr add %s dev eth0 nodad", v6)
	router.ip("addr add %s/24 dev %s", via4, port)
	router.ip("addr add %s/64 dev %s nodad", via6, port)
	h.ip("route add default via %s", via4)
	h.ip("-6 route add default via %s", via6)
}

// start runs the engines, each where its interface is to be.
func (w *world) start(p pair, a, b *host) {
	w.t.Helper()
	w.a, w.b = startDevice(a, p.a), startDevice(b, p.b)
	w.configure(portA, portB)
}

// configure gives both devices keys, ports and each other, and brings them up.
func (w *world) configure(portA, portB int) {
	w.t.Helper()
	w.psk = peer.NewPresharedKey()
	w.a.port, w.b.port = portA, portB
	w.a.address(insideA4+"/24", insideA6+"/112")
	w.b.address(insideB4+"/24", insideB6+"/112")
	w.a.set("private-key @%s listen-port %d peer %s preshared-key @%s allowed-ips %s/32,%s/128",
		w.a.key.Private, portA, w.b.key.Public, w.psk, insideB4, insideB6)
	w.b.set("private-key @%s listen-port %d peer %s preshared-key @%s allowed-ips %s/32,%s/128",
		w.b.key.Private, portB, w.a.key.Public, w.psk, insideA4, insideA6)
	w.a.up()
	w.b.up()
}

// up brings the interface up and waits until the kernel lets its IPv6 addresses
// be used, which is a moment later.
func (d *device) up() {
	d.t.Helper()
	d.ip("link set %s up", d.name)
	eventually(d.t, "no address is tentative, all are routed to here", func() bool {
		addrs := strings.Count(d.run("ip", "-6", "addr", "show", "dev", d.name), "inet6 ")
		routes := strings.Count(d.run("ip", "-6", "route", "show", "table", "local", "type", "local", "dev", d.name), "\n")
		return routes >= addrs && d.run("ip", "-6", "addr", "show", "dev", d.name, "tentative") == ""
	})
}

// address gives the interface addresses.
func (d *device) address(addrs ...string) {
	d.t.Helper()
	for _, a := range addrs {
		if strings.Contains(a, ":") {
			a += " nodad"
		}
		d.ip("addr add dev %s %s", d.name, a)
	}
}

// A family is what the outer packets are.
type family int

const (
	v4 family = 4
	v6 family = 6
)

func (f family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// families runs a test with IPv4 outside and with IPv6. The test calls eachPair.
func families(t *testing.T, test func(t *testing.T, outer family)) {
	t.Helper()
	t.Parallel()
	for _, f := range []family{v4, v6} {
		t.Run("over "+f.String(), func(t *testing.T) { test(t, f) })
	}
}

// endpointA returns where a is.
func (f family) endpointA() string { return f.choose(outsideA4, outsideA6, portA) }

// endpointB returns where b is.
func (f family) endpointB() string { return f.choose(outsideB4, outsideB6, portB) }

func (f family) choose(addr4, addr6 string, port int) string {
	if f == v4 {
		return fmt.Sprintf("%s:%d", addr4, port)
	}
	return fmt.Sprintf("[%s]:%d", addr6, port)
}

// reach tells both where the other is.
func (w *world) reach(f family) {
	w.t.Helper()
	w.a.set("peer %s endpoint %s", w.b.key.Public, f.endpointB())
	w.b.set("peer %s endpoint %s", w.a.key.Public, f.endpointA())
}

// wantSameCounts waits until what one side has sent is what the other has
// received.
func (w *world) wantSameCounts() {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		a, b := w.a.transfer(w.b.key.Public), w.b.transfer(w.a.key.Public)
		if (a == count{received: b.sent, sent: b.received}) {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("a counts %+v and b %+v", a, b)
		}
	}
}

// mtu sets the MTU of both interfaces.
func (w *world) mtu(n int) {
	w.t.Helper()
	w.a.ip("link set %s mtu %d", w.a.name, n)
	w.b.ip("link set %s mtu %d", w.b.name, n)
}
