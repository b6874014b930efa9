package broker

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestConnectionsOfARunReachItsOwnListeners(t *testing.T) {
	w := newStreamWorld(t)
	for _, c := range []struct {
		listen, to string
		lf, cf     int // streamFamilies
		want       unix.Errno
	}{
		{"127.0.0.1:0", "127.0.0.1", unix.AF_INET, unix.AF_INET, ok},
		{"0.0.0.0:0", "127.0.0.1", unix.AF_INET, unix.AF_INET, ok},
		{"0.0.0.0:0", "127.7.7.7", unix.AF_INET, unix.AF_INET, ok},
		{"0.0.0.0:80", "10.9.0.2", unix.AF_INET, unix.AF_INET, ok},
		{"0.0.0.0:0", "0.0.0.0", unix.AF_INET, unix.AF_INET, ok},
		{"[::]:0", "::1", unix.AF_INET6, unix.AF_INET6, ok},
		{"[::]:443", "127.0.0.1", unix.AF_INET6, unix.AF_INET, ok},
		{"[::1]:0", "::1", unix.AF_INET6, unix.AF_INET6, ok},
		{"[::1]:0", "127.0.0.1", unix.AF_INET6, unix.AF_INET, unix.ECONNREFUSED},
		{"[::ffff:0.0.0.0]:0", "127.0.0.1", unix.AF_INET6, unix.AF_INET, ok},
		{"[::ffff:0.0.0.0]:0", "::1", unix.AF_INET6, unix.AF_INET6, unix.ECONNREFUSED},
		{"[::ffff:127.0.0.1]:0", "127.0.0.1", unix.AF_INET6, unix.AF_INET, ok},
		{"[::]:0", "fd09::2", unix.AF_INET6, unix.AF_INET6, ok},
		{"127.0.0.1:0", "10.9.0.2", unix.AF_INET, unix.AF_INET, unix.ECONNREFUSED},
		{"0.0.0.0:0", "::1", unix.AF_INET, unix.AF_INET6, unix.ECONNREFUSED},
	} {
		l := w.socket(c.lf, false)
		l.wantBind(c.listen, ok)
		if errno := w.b.Listen(l.inode(), l.fd, 8); errno != ok {
			t.Fatalf("listen: %v", errno)
		}
		sa, _ := w.b.LocalName(l.inode(), l.fd)
		at := l.parse(sa)
		if want := addr(c.listen); at.Addr() != want.Addr().Unmap() || want.Port() != 0 && at.Port() != want.Port() || at.Port() == 0 {
			t.Errorf("the listener at %s is called %v", c.listen, at)
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(c.to), at.Port())
		s := w.socket(c.cf, false)
		s.wantConnect(to.String(), c.want)
		if c.want == ok {
			wantMeeting(t, l, s, to)
		}
		l.close()
		again := w.socket(c.cf, false)
		again.wantConnect(to.String(), unix.ECONNREFUSED)
	}
}

// wantMeeting accepts the connection of s to the listener, and wants both ends to
// have the same names for each other.
func wantMeeting(t *testing.T, l, s *testStream, to netip.AddrPort) {
	t.Helper()
	fd, peer, errno := l.w.b.Accept(context.Background(), l.fd, 0, nil)
	if errno != ok {
		t.Fatalf("accept: %v", errno)
	}
	a := &testStream{w: l.w, fd: fd, family: l.family}
	defer a.close()
	accLocal, accPeer := a.names()
	local, remote := s.names()
	if got := l.parse(peer); got != accPeer || got.Port() != local.Port() {
		t.Errorf("%v: accept says %v, getpeername %v, the other end's getsockname %v", to, got, accPeer, local)
	}
	if !to.Addr().IsUnspecified() && remote != to || accLocal.Port() != to.Port() {
		t.Errorf("%v: the client's peer is %v, the server's name %v", to, remote, accLocal)
	}
	if to.Addr().IsLoopback() && to.Addr().Is6() && (local.Addr() != to.Addr() || accPeer.Addr() != to.Addr()) {
		t.Errorf("%v: the client is called %v and %v", to, local, accPeer)
	}
}

// All who wait for a connection are woken by one, and all but one go on to wait, as long
// as they want to: a call that nobody is there for any more takes no connection.
func TestAcceptOfAConnectionThatIsTakenCanBeLeft(t *testing.T) {
	w := newStreamWorld(t)
	l := w.socket(unix.AF_INET6, false)
	l.wantBind("[::1]:0", ok)
	l.wantListen(ok)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const waiting = 8
	taken, left := make(chan int), make(chan syscall.Errno)
	for range waiting {
		go func() {
			fd, _, errno := w.b.Accept(ctx, l.fd, 0, nil)
			if errno == ok {
				taken <- fd
				return
			}
			left <- errno
		}()
	}
	at := l.localName()
	for range 3 {
		w.socket(unix.AF_INET6, false).wantConnect(at, ok)
		unix.Close(<-taken)
	}
	cancel()
	begin := time.Now()
	for range waiting - 3 {
		if errno := <-left; errno != unix.EINTR {
			t.Errorf("got %v, want EINTR", errno)
		}
	}
	if took := time.Since(begin); took > 5*time.Second { // SO_RCVTIMEO is 10 s
		t.Errorf("they return after %v", took)
	}
}

// One of whom another has taken the connection, past us, hinders nobody at another
// listener, and can be left as long as it has not begun to take one.
func TestAcceptHindersNoOtherListener(t *testing.T) {
	w := newStreamWorld(t)
	listen := func() *testStream {
		l := w.socket(unix.AF_INET6, false)
		l.wantBind("[::1]:0", ok)
		l.wantListen(ok)
		return l
	}
	hindered, other := listen(), listen()
	w.b.streams.accepting.Store(hindered.inode(), true)
	w.socket(unix.AF_INET6, false).wantConnect(other.localName(), ok)
	fd, _, errno := w.b.Accept(t.Context(), other.fd, 0, nil)
	if errno != ok {
		t.Fatalf("got %v", errno)
	}
	unix.Close(fd)
	w.socket(unix.AF_INET6, false).wantConnect(hindered.localName(), ok)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, errno := w.b.Accept(ctx, hindered.fd, 0, nil); errno != unix.EINTR {
		t.Errorf("got %v, want EINTR", errno)
	}
}

// What does not listen is told so, whatever it is.
func TestAcceptOfWhatDoesNotListen(t *testing.T) {
	w := newStreamWorld(t)
	idle, connected := w.socket(unix.AF_INET6, false), w.socket(unix.AF_INET6, false)
	l := w.socket(unix.AF_INET6, false)
	l.wantBind("[::1]:0", ok)
	l.wantListen(ok)
	connected.wantConnect(l.localName(), ok)
	for _, s := range []*testStream{idle, connected} {
		if _, _, errno := w.b.Accept(t.Context(), s.fd, 0, nil); errno != unix.EINVAL {
			t.Errorf("got %v, want EINVAL", errno)
		}
	}
}

// What listens on the host's loopback is not the program's.
func TestListenersOfTheHostAreOutOfReach(t *testing.T) {
	w := newStreamWorld(t)
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("%s: %v", at, err)
			continue
		}
		defer l.Close()
		to := l.Addr().(*net.TCPAddr).AddrPort()
		family := unix.AF_INET
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		s := w.socket(family, false)
		s.wantConnect(to.String(), unix.ECONNREFUSED)
	}
	// Nor are the broker's own.
	for _, to := range []netip.AddrPort{w.b.lo.relay, w.b.lo.hole.at} {
		s := w.socket(unix.AF_INET, false)
		s.wantConnect(to.String(), unix.ECONNREFUSED)
	}
}

// Who connects to the relay without having been sent gets nothing.
func TestStrangersAtTheRelayAreClosed(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	stranger, err := net.Dial("tcp", w.b.lo.relay.String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	s := w.socket(unix.AF_INET, false)
	s.wantConnect("10.9.0.1:7", ok)
	s.say("hello")
	stranger.SetReadDeadline(time.Now().Add(moment))
	if n, err := stranger.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a stranger read %d bytes, %v", n, err)
	}
}

func TestBindTakesOnlyWhatIsTheProgramsOwn(t *testing.T) {
	w := newStreamWorld(t)
	for _, c := range []struct {
		family int
		at     string
		want   unix.Errno
	}{
		{unix.AF_INET, "0.0.0.0:0", ok},
		{unix.AF_INET, "127.0.0.1:0", ok},
		{unix.AF_INET, "10.9.0.2:0", ok},
		{unix.AF_INET, "10.9.0.3:0", unix.EADDRNOTAVAIL},
		{unix.AF_INET6, "[::]:0", ok},
		{unix.AF_INET6, "[fd09::2]:25", ok},
		{unix.AF_INET6, "[fd09::3]:0", unix.EADDRNOTAVAIL},
		{unix.AF_INET, "127.0.0.1:22", ok},
	} {
		s := w.socket(c.family, false)
		s.wantBind(c.at, c.want)
		if c.want == ok {
			s.wantBind(c.at, unix.EINVAL)
		}
	}
	four, six := w.socket(unix.AF_INET, false), w.socket(unix.AF_INET6, false)
	six.wantBind("[::]:9090", ok)
	four.wantBind("0.0.0.0:9090", unix.EADDRINUSE)
	six.close()
	four.wantBind("0.0.0.0:9090", ok)
	s, s2 := w.socket(unix.AF_INET, false), w.socket(unix.AF_INET, false)
	s.wantBind("127.0.0.1:8080", ok)
	s2.wantBind("127.0.0.1:8080", unix.EADDRINUSE)
	s.close()
	s2.wantBind("127.0.0.1:8080", ok)
}
