package broker

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBindTakesOwnAddressesOnly(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	for _, row := range []struct {
		family int
		at     netip.AddrPort
		want   error
	}{
		{unix.AF_INET, addr("0.0.0.0:53"), ok},
		{unix.AF_INET, addr("127.0.0.1:5001"), ok},
		{unix.AF_INET, addr("127.9.9.9:5001"), ok},
		{unix.AF_INET, at(near4, 5002), ok},
		{unix.AF_INET, at(far4, 5003), unix.EADDRNOTAVAIL},
		{unix.AF_INET, addr("192.168.1.1:5003"), unix.EADDRNOTAVAIL},
		{unix.AF_INET, addr("224.0.0.251:5353"), unix.EADDRNOTAVAIL},
		{unix.AF_INET6, addr("[::1]:5001"), ok},
		{unix.AF_INET6, at(near6, 5002), ok},
		{unix.AF_INET6, at(near4, 5004), ok},
		{unix.AF_INET6, addr("[::]:5005"), ok},
		{unix.AF_INET6, at(far6, 5006), unix.EADDRNOTAVAIL},
		{unix.AF_INET6, addr("[fe80::1]:5006"), unix.EINVAL},
	} {
		s := newTestSocket(t, b, row.family)
		if errno := s.Bind(s.fd, s.name(row.at)); errno != row.want {
			t.Errorf("bind to %v: got %v, want %v", row.at, errno, row.want)
			continue
		}
		if row.want != ok {
			s.wantBind(at(s.wildcard().Addr(), 0), ok) // nothing is left of the attempt
			continue
		}
		s.wantName(row.at)
		s.wantBind(row.at, unix.EINVAL)
		same := newTestSocket(t, b, row.family)
		same.wantBind(row.at, unix.EADDRINUSE)
		same.wantBind(at(row.at.Addr(), 0), ok)
		if p := same.local(); p.Port() == 0 || p.Addr() != row.at.Addr() || p.Port() == row.at.Port() {
			t.Errorf("port 0 at %v has become %v", row.at.Addr(), p)
		}
	}
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("0.0.0.0:5002"), unix.EADDRINUSE) // wildcard and one address
	// Bound to the tunnel, a socket is reached from there; to loopback, it is not.
	server := listenFar(t, far, at(far4, 7000))
	one, two := newTestSocket(t, b, unix.AF_INET), newTestSocket(t, b, unix.AF_INET)
	one.wantBind(at(near4, 6000), ok)
	two.wantBind(addr("127.0.0.1:6001"), ok)
	server.send(at(near4, 6001), "no")
	server.send(at(near4, 6000), "yes")
	one.wantReceive(at(far4, 7000), "yes")
	if r, errno := two.receive(10, unix.MSG_DONTWAIT); errno != unix.EAGAIN {
		t.Errorf("loopback got %v, %v from the tunnel", r, errno)
	}
	two.sendTo(at(far4, 7000), "out", unix.EINVAL)
	two.wantConnect(at(far4, 7000), unix.EINVAL)
}

// Nobody can tell what port a socket has that was bound to port 0, until somebody
// asks: so it can be one that learns that it is refused.
func TestSocketBoundToAnyPortLearnsOfRefusal(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("0.0.0.0:0"), ok)
	s.wantConnect(at(far4, 9999), ok)
	s.write("?")
	if _, errno := s.receive(10, 0); errno != unix.ECONNREFUSED {
		t.Errorf("got %v, want ECONNREFUSED", errno)
	}
}

// What getaddrinfo of glibc does to sort addresses (RFC 6724): it connects to each, asks
// for its own name, and disconnects.
func TestRoutesAreAskedByConnecting(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 53))
	unspec := make([]byte, 16)
	s := newTestSocket(t, b, unix.AF_INET6)
	begin := time.Now()
	for range 100 {
		for _, port := range []uint16{0, 53} {
			for _, row := range []struct {
				to, from netip.Addr
				want     error
			}{
				{far4, near4, ok}, {far6, near6, ok},
				{netip.MustParseAddr("192.0.2.1"), netip.Addr{}, unix.ENETUNREACH},
				{netip.MustParseAddr("2001:db8::1"), netip.Addr{}, unix.ENETUNREACH},
				{netip.MustParseAddr("127.0.0.1"), loopbackOf(near4), ok},
				{netip.MustParseAddr("127.0.0.53"), loopbackOf(near4), ok},
				{netip.MustParseAddr("::1"), loopbackOf(near6), ok},
				{near4, near4, ok},
			} {
				if errno := s.Connect(s.name(at(row.to, port))); errno != row.want {
					t.Fatalf("connect to %v, port %d: got %v, want %v", row.to, port, errno, row.want)
				}
				if got := s.local(); row.want == ok && (got.Addr() != row.from || got.Port() == 0) {
					t.Fatalf("to %v: getsockname says %v, want %v and a port", row.to, got, row.from)
				}
				_, errno := s.PeerName()
				if (errno == ok) != (row.want == ok && port != 0) {
					t.Fatalf("getpeername after connect to %v, port %d: %v", row.to, port, errno)
				}
				if errno := s.Connect(unspec); errno != ok {
					t.Fatal(errno)
				}
				s.wantName(s.wildcard())
			}
		}
	}
	if each := time.Since(begin) / 1600; each > 5*time.Millisecond {
		t.Errorf("one takes %v", each)
	}
	// All of that has sent nothing.
	s.sendTo(at(far4, 53), "the first", ok)
	server.want("the first")
}

func TestConnectAgain(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server4, server6 := listenFar(t, far, at(far4, 7000)), listenFar(t, far, at(far6, 7000))
	s := newTestSocket(t, b, unix.AF_INET6)
	local := newTestSocket(t, b, unix.AF_INET)
	local.wantBind(addr("127.0.0.1:7000"), ok)
	unspec := make([]byte, 28)
	for range 3 {
		s.wantConnect(at(far6, 7000), ok)
		s.write("a")
		server6.send(server6.want("a"), "b")
		s.wantReceive(at(far6, 7000), "b")
		s.Connect(unspec)
		s.wantConnect(at(far4, 7000), ok)
		s.write("c")
		server4.send(server4.want("c"), "d")
		s.wantReceive(at(far4, 7000), "d")
		s.wantConnect(addr("127.0.0.1:7000"), ok) // from where it is now
		s.wantName(at(near4, s.local().Port()))
		s.write("e")
		local.wantReceive(s.local(), "e")
		s.wantConnect(addr("192.0.2.1:7000"), unix.ENETUNREACH) // changes nothing
		s.wantConnect(at(far6, 7000), unix.EAFNOSUPPORT)
		s.write("f")
		local.wantReceive(s.local(), "f")
		s.Connect(unspec)
		s.wantConnect(addr("127.0.0.1:7000"), ok)
		s.write("g")
		local.wantReceive(s.local(), "g")
		s.wantConnect(at(far4, 7000), unix.EINVAL) // not from 127.0.0.1
		s.Connect(unspec)
	}
	bound := newTestSocket(t, b, unix.AF_INET)
	bound.wantBind(addr("0.0.0.0:5000"), ok)
	bound.wantConnect(at(far4, 7000), ok)
	bound.wantName(at(near4, 5000))
	bound.wantConnect(addr("127.0.0.1:7000"), ok)
	bound.wantName(at(near4, 5000))
	bound.Connect(make([]byte, 2))
	bound.wantName(addr("0.0.0.0:5000"))
}

func TestOptionsAreRemembered(t *testing.T) {
	b, _ := newDatagramBroker(t, nil)
	s4, s6 := newTestSocket(t, b, unix.AF_INET), newTestSocket(t, b, unix.AF_INET6)
	number := func(n byte) []byte { return []byte{n, 0, 0, 0} }
	for _, row := range []struct {
		s           *testSocket
		level, name int
		value       []byte
		want        error
		get         []byte
	}{
		{s4, unix.SOL_IP, unix.IP_TTL, number(9), ok, number(9)},
		{s4, unix.SOL_IP, unix.IP_TTL, []byte{8}, ok, number(8)},
		{s4, unix.SOL_IP, unix.IP_TTL, number(0), unix.EINVAL, number(8)},
		{s4, unix.SOL_IP, unix.IP_TTL, []byte{255, 255, 255, 255}, ok, number(64)},
		{s4, unix.SOL_IP, unix.IP_TOS, number(0xb8), ok, number(0xb8)},
		{s4, unix.SOL_IP, unix.IP_MTU_DISCOVER, number(6), unix.EINVAL, number(1)},
		{s4, unix.SOL_IP, unix.IP_PKTINFO, number(7), ok, number(1)},
		{s4, unix.SOL_IPV6, unix.IPV6_TCLASS, number(1), unix.ENOPROTOOPT, nil},
		{s6, unix.SOL_IPV6, unix.IPV6_TCLASS, number(1), ok, number(1)},
		{s6, unix.SOL_IPV6, unix.IPV6_TCLASS, []byte{1}, unix.EINVAL, number(1)},
		{s6, unix.SOL_IP, unix.IP_TOS, number(4), ok, number(4)},
		{s6, unix.SOL_UDP, unix.UDP_GRO, number(1), ok, number(1)},
		{s6, unix.SOL_IPV6, unix.IPV6_V6ONLY, number(1), ok, number(1)},
		{s4, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, make([]byte, 12), unix.ENODEV, nil},
		{s6, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, make([]byte, 20), unix.ENODEV, nil},
		{s4, unix.SOL_IP, unix.IP_DROP_MEMBERSHIP, make([]byte, 12), unix.EADDRNOTAVAIL, nil},
		{s4, unix.SOL_IP, 200, number(1), unix.ENOPROTOOPT, nil},
		{s4, unix.SOL_TCP, unix.TCP_NODELAY, number(1), unix.ENOPROTOOPT, nil},
	} {
		if errno := row.s.SetOption(row.level, row.name, row.value); errno != row.want {
			t.Errorf("set %d, %d to %x: got %v, want %v", row.level, row.name, row.value, errno, row.want)
		}
		if got, _ := row.s.GetOption(row.level, row.name); !bytes.Equal(got, row.get) {
			t.Errorf("get %d, %d: got %x, want %x", row.level, row.name, got, row.get)
		}
	}
	s6.wantConnect(at(far6, 7000), ok)
	s6.wantConnect(at(far4, 7000), unix.ENETUNREACH)
	if errno := s6.Connect(sockaddr(unix.AF_INET, at(far4, 7000))); errno != unix.EAFNOSUPPORT {
		t.Errorf("connect to IPv4 of an IPv6 socket for nothing else: got %v, want EAFNOSUPPORT", errno)
	}
	if errno := s6.SetOption(unix.SOL_IPV6, unix.IPV6_V6ONLY, number(0)); errno != unix.EINVAL {
		t.Errorf("V6ONLY of a bound socket: got %v, want EINVAL", errno)
	}
	for name, want := range map[int]byte{unix.SO_DOMAIN: unix.AF_INET6, unix.SO_TYPE: unix.SOCK_DGRAM, unix.SO_PROTOCOL: unix.IPPROTO_UDP, unix.SO_ERROR: 0} {
		if got, errno := s6.GetOption(unix.SOL_SOCKET, name); errno != ok || !bytes.Equal(got, number(want)) {
			t.Errorf("SOL_SOCKET, %d: got %x, %v, want %d", name, got, errno, want)
		}
	}
}
