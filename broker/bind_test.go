package broker

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bound returns a socket that is bound, after options of SOL_SOCKET were set.
func (w *streamWorld) bound(family int, at string, options ...int) *testStream {
	w.t.Helper()
	s := w.socket(family, false)
	s.set(unix.SOL_SOCKET, options...)
	s.wantBind(at, ok)
	return s
}

func (s *testStream) set(level int, options ...int) {
	s.w.t.Helper()
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, level, o, 1); err != nil {
			s.w.t.Fatal(err)
		}
	}
}

func (s *testStream) wantListen(want unix.Errno) {
	s.w.t.Helper()
	if errno := s.w.b.Listen(s.inode(), s.fd, 8); errno != want {
		s.w.t.Fatalf("listen: got %v, want %v", errno, want)
	}
}

// wantReached connects to an address and wants this listener to be there.
func (s *testStream) wantReached(to string) {
	s.w.t.Helper()
	c := s.w.socket(s.family, false)
	c.wantConnect(to, ok)
	if s.poll(unix.POLLIN, 10*time.Second) == 0 {
		s.w.t.Fatalf("a connection to %s has reached another socket", to)
	}
	fd, _, err := unix.Accept(s.fd)
	if err != nil {
		s.w.t.Fatal(err)
	}
	c.close() // first: what has to wait is its port, not the listener's
	unix.Close(fd)
}

func TestOnePortOfSeveralAddresses(t *testing.T) {
	w := newStreamWorld(t)
	one, other := w.bound(unix.AF_INET, "127.0.0.1:8053"), w.bound(unix.AF_INET, "10.9.0.2:8053")
	one.wantListen(ok)
	other.wantListen(ok)
	one.wantReached("127.0.0.1:8053")
	other.wantReached("10.9.0.2:8053")
	any, six := w.socket(unix.AF_INET, false), w.socket(unix.AF_INET6, false)
	any.wantBind("0.0.0.0:8053", unix.EADDRINUSE)
	six.wantBind("[::]:8053", unix.EADDRINUSE)
	w.bound(unix.AF_INET6, "[::1]:8053")
	// When they are gone, the wildcard has all of them.
	one.close()
	other.close()
	any.wantBind("0.0.0.0:8053", ok)
	any.wantListen(ok)
	any.wantReached("127.0.0.1:8053")
	any.wantReached("10.9.0.2:8053")
	// And the other way round.
	any.close()
	one = w.bound(unix.AF_INET, "127.0.0.1:8053")
	one.wantListen(ok)
	one.wantReached("127.0.0.1:8053")
}

func TestSocketsShareAnAddressAsTheyAsk(t *testing.T) {
	w := newStreamWorld(t)
	const at = "127.0.0.1:8080"
	a, b := w.bound(unix.AF_INET, at, unix.SO_REUSEADDR), w.bound(unix.AF_INET, at, unix.SO_REUSEADDR)
	w.socket(unix.AF_INET, false).wantBind(at, unix.EADDRINUSE)
	w.socket(unix.AF_INET, false).wantBind("0.0.0.0:8080", unix.EADDRINUSE)
	a.wantListen(ok)
	b.wantListen(unix.EADDRINUSE)
	a.wantReached(at)
	a.close()
	b.wantListen(ok)
	b.wantReached(at)
	b.close()
	for range 2 {
		s := w.bound(unix.AF_INET, at, unix.SO_REUSEPORT)
		s.wantListen(ok)
	}
	w.socket(unix.AF_INET, false).wantBind(at, unix.EADDRINUSE)
}

func TestV6OnlySocketsKeepToIPv6(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	six := func() *testStream {
		s := w.socket(unix.AF_INET6, false)
		s.set(unix.SOL_IPV6, unix.IPV6_V6ONLY)
		return s
	}
	for _, to := range []string{"127.0.0.1:0", "10.9.0.2:80"} {
		six().wantBind(to, unix.EINVAL)
	}
	s := six()
	s.wantConnect("10.9.0.1:7", unix.ENETUNREACH)
	s.wantConnect("127.0.0.1:7", unix.ENETUNREACH)
	s.wantBind("[::]:0", ok)
	s.wantConnect("10.9.0.1:7", unix.ENETUNREACH)
	c := six()
	c.wantConnect("[fd09::1]:7", ok)
	for _, s := range []*testStream{s, c} {
		if !w.b.IsV6Only(s.inode(), s.fd) {
			t.Errorf("getsockopt(IPV6_V6ONLY): got 0, want 1 as it was set")
		}
	}
	c.close()
	for range 8 { // one of them may have the inode
		if s := w.socket(unix.AF_INET6, false); w.b.IsV6Only(s.inode(), s.fd) {
			t.Errorf("getsockopt(IPV6_V6ONLY) of a new socket: got 1, want 0")
		}
	}
}

func TestAddressesOfALinkNeedAScope(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET6, false)
	s.wantConnect("[fe80::1]:7", unix.EINVAL)
	s.wantBind("[fe80::1]:7", unix.EINVAL)
	b, _ := newDatagramBroker(t, nil)
	d := newTestSocket(t, b, unix.AF_INET6)
	d.wantConnect(addr("[fe80::1]:7"), unix.EINVAL)
	d.wantBind(addr("[fe80::1]:7"), unix.EINVAL)
}

// Who is told of a refusal by read(2), which the broker does not see, is not told again.
func TestRefusalIsToldOnce(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, true)
	s.wantConnect("10.9.0.1:9", unix.EINPROGRESS)
	for s.poll(unix.POLLIN|unix.POLLRDHUP, 10*time.Second)&unix.POLLRDHUP == 0 {
	}
	if _, err := unix.Read(s.fd, make([]byte, 1)); err != unix.ECONNREFUSED {
		t.Fatalf("read: got %v, want ECONNREFUSED", err)
	}
	if errno := w.b.SocketError(s.inode(), s.fd); errno != ok {
		t.Errorf("SO_ERROR: got %v, want 0", errno)
	}
	s = w.socket(unix.AF_INET, true)
	s.wantConnect("10.9.0.1:9", unix.EINPROGRESS)
	s.poll(unix.POLLIN, 10*time.Second)
	for _, want := range []unix.Errno{unix.ECONNREFUSED, ok} {
		if errno := w.b.SocketError(s.inode(), s.fd); errno != want {
			t.Errorf("SO_ERROR: got %v, want %v", errno, want)
		}
	}
}

func TestConnectionToItselfHasItsOwnAddress(t *testing.T) {
	w := newStreamWorld(t)
	s := w.bound(unix.AF_INET6, "[::1]:8080")
	s.wantConnect("[::1]:8080", ok)
	if local, peer := s.names(); local != addr("[::1]:8080") || peer != local {
		t.Errorf("got %v and %v, want [::1]:8080 twice", local, peer)
	}
}

// However many addresses a port has been bound at, the next one does not wait for each:
// what listens is looked up once.
func TestPortOfManyAddressesIsBoundAtOnce(t *testing.T) {
	w := newStreamWorld(t)
	for i := range 2000 {
		s := w.socket(unix.AF_INET, false)
		s.wantBind(fmt.Sprintf("127.1.%d.%d:8080", i/250, i%250), ok)
		s.close()
	}
	begin := time.Now()
	w.socket(unix.AF_INET, false).wantBind("0.0.0.0:8080", ok)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}
