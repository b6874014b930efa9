package broker

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newDatagramBroker returns a Broker over the near Stack of newNetwork, and the far one.
func newDatagramBroker(t testing.TB, change func(*Config)) (*Broker, interface {
	ListenPacket(context.Context, string, string) (net.PacketConn, error)
}) {
	t.Helper()
	near, far := newNetwork(t)
	cfg := Config{Dialer: near, Addresses: []netip.Addr{near4, near6}}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, far
}

// A testSocket is a UDP socket as the program has it.
type testSocket struct {
	*Datagram
	t  testing.TB
	fd int
}

func newTestSocket(t testing.TB, b *Broker, family int) *testSocket {
	t.Helper()
	fd, errno := b.NewDatagram(family, false)
	if errno != ok {
		t.Fatalf("socket: %v", errno)
	}
	s := &testSocket{t: t, fd: fd}
	t.Cleanup(s.close)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if s.Datagram = b.Datagram(st.Ino); s.Datagram == nil {
		t.Fatal("the Broker does not know its socket")
	}
	// No test waits for ever.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	return s
}

func (s *testSocket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// name is a sockaddr for the socket.
func (s *testSocket) name(a netip.AddrPort) []byte { return sockaddr(s.family, a) }

func (s *testSocket) wantBind(a netip.AddrPort, want syscall.Errno) {
	s.t.Helper()
	if errno := s.Bind(s.name(a)); errno != want {
		s.t.Fatalf("bind to %v: got %v, want %v", a, errno, want)
	}
}

func (s *testSocket) wantConnect(a netip.AddrPort, want syscall.Errno) {
	s.t.Helper()
	if errno := s.Connect(s.name(a)); errno != want {
		s.t.Fatalf("connect to %v: got %v, want %v", a, errno, want)
	}
}

// write sends natively.
func (s *testSocket) write(payload string) {
	s.t.Helper()
	if err := unix.Sendto(s.fd, []byte(payload), 0, nil); err != nil {
		s.t.Fatalf("send natively: %v", err)
	}
}

// read receives natively.
func (s *testSocket) read() string {
	s.t.Helper()
	buf := make([]byte, maxDatagram)
	n, err := unix.Read(s.fd, buf)
	if err != nil {
		s.t.Fatalf("read natively: %v", err)
	}
	return string(buf[:n])
}

func (s *testSocket) wantRead(want string) {
	s.t.Helper()
	if got := s.read(); got != want {
		s.t.Fatalf("read natively: got %q, want %q", got, want)
	}
}

// sendTo sends with an address.
func (s *testSocket) sendTo(a netip.AddrPort, payload string, want syscall.Errno) {
	s.t.Helper()
	n, errno := s.Send(s.t.Context(), Message{To: s.name(a), Payload: []byte(payload)}, false)
	if errno != want || errno == ok && n != len(payload) {
		s.t.Fatalf("send %d bytes to %v: got %d, %v, want %v", len(payload), a, n, errno, want)
	}
}

func (s *testSocket) receive(size, flags int) (*Received, syscall.Errno) {
	return s.Receive(s.t.Context(), s.fd, size, flags, false)
}

// wantReceive receives one datagram with its source.
func (s *testSocket) wantReceive(from netip.AddrPort, want string) *Received {
	s.t.Helper()
	r, errno := s.receive(maxDatagram, 0)
	if errno != ok {
		s.t.Fatalf("receive: %v, want %q", errno, want)
	}
	if string(r.Payload) != want || !bytes.Equal(r.From, s.name(from)) {
		s.t.Fatalf("receive: got %q from %x, want %q from %v", r.Payload, r.From, want, from)
	}
	return r
}

func (s *testSocket) wantName(want netip.AddrPort) {
	s.t.Helper()
	if got := s.LocalName(); !bytes.Equal(got, s.name(want)) {
		s.t.Fatalf("getsockname: got %x, want %v", got, want)
	}
}

// local returns the socket's address.
func (s *testSocket) local() netip.AddrPort {
	s.t.Helper()
	a, errno := parseSockaddr(s.family, s.LocalName())
	if errno != ok {
		s.t.Fatal(errno)
	}
	return a
}

// A farSocket is a socket at the other end of the tunnel.
type farSocket struct {
	net.PacketConn
	t testing.TB
}

func listenFar(t testing.TB, far interface {
	ListenPacket(context.Context, string, string) (net.PacketConn, error)
}, a netip.AddrPort) farSocket {
	t.Helper()
	network := "udp4"
	if a.Addr().Is6() {
		network = "udp6"
	}
	c, err := far.ListenPacket(t.Context(), network, a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return farSocket{c, t}
}

// want receives a datagram and returns whom it is from.
func (f farSocket) want(payload string) netip.AddrPort {
	f.t.Helper()
	buf := make([]byte, maxDatagram)
	n, from, err := f.ReadFrom(buf)
	if err != nil {
		f.t.Fatalf("the far end receives: %v, want %q", err, payload)
	}
	if string(buf[:n]) != payload {
		f.t.Fatalf("the far end receives: got %q, want %q", buf[:n], payload)
	}
	return addrPortOf(from)
}

func (f farSocket) send(to netip.AddrPort, payload string) {
	f.t.Helper()
	if _, err := f.WriteTo([]byte(payload), net.UDPAddrFromAddrPort(to)); err != nil {
		f.t.Fatal(err)
	}
}

// families are what a program asks for, and the far address that it then uses.
var families = []struct {
	name   string
	family int
	near   netip.Addr
	far    netip.Addr
}{
	{"IPv4", unix.AF_INET, near4, far4},
	{"IPv6", unix.AF_INET6, near6, far6},
	{"IPv4-mapped", unix.AF_INET6, near4, far4},
}

func TestConnectedSocketTalksNatively(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b, far := newDatagramBroker(t, nil)
			server := listenFar(t, far, at(f.far, 7000))
			s := newTestSocket(t, b, f.family)
			s.wantConnect(at(f.far, 7000), ok)
			if got := s.local(); got.Addr() != f.near || got.Port() == 0 {
				t.Errorf("getsockname: got %v, want %v and a port", got, f.near)
			}
			if got, errno := s.PeerName(); errno != ok || !bytes.Equal(got, s.name(at(f.far, 7000))) {
				t.Errorf("getpeername: got %x, %v", got, errno)
			}
			s.write("question")
			from := server.want("question")
			if from != s.local() {
				t.Errorf("the far end sees %v, getsockname says %v", from, s.local())
			}
			server.send(from, "answer")
			s.wantRead("answer")
			server.send(from, "another")
			s.wantReceive(at(f.far, 7000), "another")
		})
	}
}

func TestUnconnectedSocketTalksToMany(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			b, far := newDatagramBroker(t, nil)
			one, two := listenFar(t, far, at(f.far, 7001)), listenFar(t, far, at(f.far, 7002))
			s := newTestSocket(t, b, f.family)
			s.wantName(s.wildcard())
			s.sendTo(at(f.far, 7001), "to one", ok)
			s.sendTo(at(f.far, 7002), "to two", ok)
			from := one.want("to one")
			if again := two.want("to two"); again != from || from.Addr() != f.near {
				t.Errorf("got from %v and %v, want both from one port of %v", from, again, f.near)
			}
			if got := s.local(); got != at(s.wildcard().Addr(), from.Port()) {
				t.Errorf("getsockname: got %v, want the wildcard and port %d", got, from.Port())
			}
			one.send(from, "from one")
			s.wantReceive(at(f.far, 7001), "from one")
			two.send(from, "from two")
			s.wantReceive(at(f.far, 7002), "from two")
			two.send(from, "read natively")
			s.wantRead("read natively")
			one.send(from, "and not")
			s.wantReceive(at(f.far, 7001), "and not")
		})
	}
}

func TestOnlyThePeerGetsIn(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	peer, stranger := listenFar(t, far, at(far4, 7000)), listenFar(t, far, at(other, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("0.0.0.0:5000"), ok)
	stranger.send(at(near4, 5000), "before")
	if r, errno := s.receive(100, unix.MSG_PEEK); errno != ok || string(r.Payload) != "before" {
		t.Fatalf("got %v", errno)
	}
	s.wantConnect(at(far4, 7000), ok)
	s.wantName(at(near4, 5000))
	stranger.send(at(near4, 5000), "after")
	peer.send(at(near4, 5000), "peer's")
	s.wantReceive(at(other, 7000), "before") // as Linux, which keeps what has come
	s.wantReceive(at(far4, 7000), "peer's")
}

// What has no tag is from the peer that was connected when it came.
func TestSourcesStayRightWhenThePeerChanges(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	one, two := listenFar(t, far, at(far4, 7001)), listenFar(t, far, at(far4, 7002))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantBind(addr("0.0.0.0:5000"), ok)
	s.wantConnect(at(far4, 7001), ok)
	arrived := func(n int) { // n bytes are in the queue
		for got := 0; got < n; {
			p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			unix.Poll(p, 100)
			got, _ = unix.IoctlGetInt(s.fd, unix.TIOCINQ)
		}
	}
	one.send(at(near4, 5000), "one")
	arrived(3)
	s.wantConnect(at(far4, 7002), ok)
	two.send(at(near4, 5000), "two")
	arrived(6)
	s.Connect(make([]byte, 16))
	one.send(at(near4, 5000), "three")
	s.wantReceive(at(far4, 7001), "one")
	s.wantReceive(at(far4, 7002), "two")
	// Disconnected, the port is the one that was asked for.
	s.wantReceive(at(far4, 7001), "three")
}

func TestEmptyDatagramsAreDatagrams(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(far4, 7000), ok)
	s.write("")
	from := server.want("")
	s.sendTo(at(far4, 7000), "", ok)
	server.want("")
	s.write("still there")
	server.want("still there")
	server.send(from, "")
	s.wantReceive(at(far4, 7000), "")
	server.send(from, "")
	s.wantRead("")

	u := newTestSocket(t, b, unix.AF_INET)
	u.sendTo(at(far4, 7000), "", ok)
	server.send(server.want(""), "")
	u.wantReceive(at(far4, 7000), "")
}

// The last words are sent: data that the program has written before it closed.
func TestSocketEndsWithItsLastDescriptor(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	for i := range 20 {
		s := newTestSocket(t, b, unix.AF_INET)
		s.wantConnect(at(far4, 7000), ok)
		dup, err := unix.Dup(s.fd)
		if err != nil {
			t.Fatal(err)
		}
		s.close()
		unix.Write(dup, fmt.Append(nil, "last ", i))
		unix.Sendto(dup, nil, 0, nil)
		unix.Close(dup)
		server.want(fmt.Sprint("last ", i))
		server.want("")
		<-s.done
		if b.Datagram(s.ino) != nil {
			t.Error("the Broker still knows a socket that is closed")
		}
		if n, errno := s.Send(t.Context(), Message{Payload: []byte("x")}, false); errno != unix.EPIPE {
			t.Errorf("send after the end: got %d, %v", n, errno)
		}
	}
	b.udp.sw.mu.Lock()
	defer b.udp.sw.mu.Unlock()
	if len(b.udp.sw.seats) != 0 {
		t.Errorf("ports are left: %v", b.udp.sw.seats)
	}
}

func TestHalfClosedSocketStillReceives(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7000))
	s := newTestSocket(t, b, unix.AF_INET)
	s.wantConnect(at(far4, 7000), ok)
	s.write("bye")
	unix.Shutdown(s.fd, unix.SHUT_WR)
	server.send(server.want("bye"), "bye bye")
	s.wantReceive(at(far4, 7000), "bye bye")
	unix.Shutdown(s.fd, unix.SHUT_RDWR)
	<-s.done
}

func TestThousandSocketsLeaveNothing(t *testing.T) {
	b, far := newDatagramBroker(t, nil)
	server := listenFar(t, far, at(far4, 7053))
	for range 100 {
		var some []*testSocket
		for range 10 {
			s := newTestSocket(t, b, unix.AF_INET)
			s.wantConnect(at(far4, 7053), ok)
			s.write("name?")
			server.send(server.want("name?"), "address")
			some = append(some, s)
		}
		for _, s := range some {
			s.wantRead("address")
			s.close()
		}
		for _, s := range some {
			<-s.done
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.datagrams); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
}
