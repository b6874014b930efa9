package selftest

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"adit/e2e/peer"
)

// A sink receives datagrams inside the tunnel.
type sink struct {
	h *host
	c *net.UDPConn
}

// newSink listens on a port of h, until the test ends.
func (h *host) newSink(addr string, port int) *sink {
	h.t.Helper()
	s := &sink{h: h}
	h.do(func() (err error) {
		s.c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port))))
		return err
	})
	h.t.Cleanup(func() { s.c.Close() })
	return s
}

// want waits for a datagram.
func (s *sink) want(text string) {
	s.h.t.Helper()
	buf := make([]byte, 1500)
	s.c.SetReadDeadline(time.Now().Add(patience))
	n, _, err := s.c.ReadFromUDPAddrPort(buf)
	if got := string(buf[:n]); err != nil || got != text {
		s.h.t.Fatalf("%s receives %q (%v), want %q", s.h.name, got, err, text)
	}
}

// say sends a datagram from one address to another.
func (h *host) say(text, from, to string, port int) {
	h.t.Helper()
	h.do(func() error {
		local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		remote := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port)))
		c, err := net.DialUDP("udp", local, remote)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(text))
		return err
	})
}

// netns.sh, "that crypto-RP filter works": what comes from a peer is let in only
// from its allowed addresses (§2), and a more specific prefix takes an address
// away from the peer with the wider one. An authentic packet from the wrong
// inner source is dropped, and yet tells where the peer is: "wg show endpoints"
// has the new port.
func TestMoreSpecificPeerTakesAnAddressAway(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		const port = 1111
		w := newWorld(t, p)
		w.reach(v4)
		w.a.set("peer %s allowed-ips 192.168.241.0/24", w.b.key.Public)
		w.a.ping(1, insideB4)
		s := w.a.newSink(insideA4, port)
		w.b.say("let in", insideB4, insideA4, port)
		s.want("let in")

		stranger := peer.NewKey().Public
		w.a.set("peer %s allowed-ips %s/32", stranger, insideB4)
		w.b.set("listen-port 9997")
		w.b.ip("addr add 192.168.241.77/24 dev %s", w.b.name)
		w.b.say("left out", insideB4, insideA4, port)
		w.a.wantEndpoint(w.b.key.Public, outsideB4+":9997")
		w.b.say("comes after", "192.168.241.77", insideA4, port)
		s.want("comes after") // and the one before did not come

		w.a.set("peer %s remove", stranger)
		w.b.say("left out still", insideB4, insideA4, port) // nobody has 241.2 but 241.0/24
		s.want("left out still")
		w.a.want("endpoints", w.b.key.Public+"\t"+outsideB4+":9997")
	})
}

// §2: a packet whose source is not among the sender's allowed addresses is
// dropped, IPv4 and IPv6, and nothing is wrong with the packets around it.
func TestSpoofedSourceIsDropped(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		const port = 1111
		w := newWorld(t, p)
		w.reach(v4)
		for _, c := range []struct{ own, spoofed, length, to string }{
			{insideB4, "192.168.241.66", "/24", insideA4},
			{insideB6, "fd00::66", "/112", insideA6},
		} {
			w.a.set("peer %s allowed-ips %s", w.b.key.Public, c.own)
			w.b.address(c.spoofed + c.length)
			s := w.a.newSink(c.to, port)
			w.b.say("spoofed", c.spoofed, c.to, port)
			w.b.say("honest", c.own, c.to, port)
			s.want("honest")
			// The control: it was the prefix alone.
			w.a.set("peer %s allowed-ips %s,%s", w.b.key.Public, c.own, c.spoofed)
			w.b.say("spoofed", c.spoofed, c.to, port)
			s.want("spoofed")
		}
	})
}

// allowed returns what wg shows of a peer's allowed addresses, as a set.
func (d *device) allowed(publicKey string) map[string]bool {
	d.t.Helper()
	value, _ := d.of(publicKey, "allowed-ips")
	set := make(map[string]bool)
	for _, p := range strings.Fields(value) {
		set[p] = value != "(none)"
	}
	return set
}

// allowedips.c: an exact prefix belongs to one peer, the last one it was given
// to. Traffic follows at once, and so does the check of sources.
func TestAllowedIPsMoveBetweenPeers(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		other := peer.NewKey().Public
		w.a.set("peer %s allowed-ips %s/32", other, insideB4)
		if got := w.a.allowed(w.b.key.Public); got[insideB4+"/32"] || !got[insideB6+"/128"] {
			t.Errorf("the first peer is left with %v, want its IPv6 address alone", got)
		}
		if got := w.a.allowed(other); !got[insideB4+"/32"] || len(got) != 1 {
			t.Errorf("the second peer has %v", got)
		}
		w.a.silent(insideB4)
		w.a.ping(1, insideB6)
		w.a.set("peer %s allowed-ips %s/32,%s/128", w.b.key.Public, insideB4, insideB6)
		if got := w.a.allowed(w.b.key.Public); !got[insideB4+"/32"] || !got[insideB6+"/128"] {
			t.Errorf("the first peer has %v, want both addresses", got)
		}
		if got, ok := w.a.of(other, "allowed-ips"); !ok || got != "(none)" {
			t.Errorf("the second peer has %s, want none", got)
		}
		w.a.ping(1, insideB4)
	})
}
