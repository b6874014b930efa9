package broker

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"adit/netstack"

	"golang.org/x/sys/unix"
)

// newDatagramBroker returns a Broker over the near Stack of newNetwork, and the far one.
func newDatagramBroker(t testing.TB, change func(*Config)) (*Broker, *netstack.Stack) {
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
	if errno := s.Bind(s.fd, s.name(a)); errno != want {
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

func listenFar(t testing.TB, far *netstack.Stack, a netip.AddrPort) farSocket {
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
	return farSocket{c, t}
}

// want receives a datagram and returns whom it is from.
func (f farSocket) want(payload string) netip.AddrPort {
	f.t.Helper()
	f.SetReadDeadline(time.Now().Add(10 * time.Second))
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
