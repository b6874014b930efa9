package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// moment is how long a thing that must not happen is waited for.
const moment = 100 * time.Millisecond

var streamFamilies = []struct {
	name            string
	family          int
	far, own, there string // an echo, a refusing port's address, loopback
}{
	{"IPv4", unix.AF_INET, "10.9.0.1", "10.9.0.2", "127.0.0.1"},
	{"IPv6", unix.AF_INET6, "[fd09::1]", "[fd09::2]", "[::1]"},
	{"mapped", unix.AF_INET6, "[::ffff:10.9.0.1]", "[::ffff:10.9.0.2]", "[::ffff:127.0.0.1]"},
}

func TestBlockingConnectReachesTheFarEnd(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	for _, f := range streamFamilies {
		s := w.socket(f.family, false)
		s.wantConnect(f.far+":7", ok)
		local, peer := s.names()
		if want := addr(f.far + ":7"); peer != netip.AddrPortFrom(want.Addr().Unmap(), 7) {
			t.Errorf("%s: got the peer %v, want %v", f.name, peer, want)
		}
		if want := addr(f.own + ":0").Addr().Unmap(); local.Addr() != want || local.Port() == 0 {
			t.Errorf("%s: got the name %v, want %v and a port", f.name, local, want)
		}
		s.wantConnect(f.far+":7", unix.EISCONN)
		s.say("hello")
	}
}

// The registration in epoll is older than the connect, which replaces nothing.
func TestPendingConnectIsSilentUntilItIsMade(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	for _, f := range streamFamilies {
		s := w.socket(f.family, true)
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(ep)
		e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(s.fd)}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, s.fd, &e); err != nil {
			t.Fatal(err)
		}
		events := make([]unix.EpollEvent, 4)
		unix.EpollWait(ep, events, 0) // of the socket as it was
		s.wantConnect(f.far+":7", unix.EINPROGRESS)
		n := 0
		for err = unix.EINTR; err == unix.EINTR; {
			n, err = unix.EpollWait(ep, events, 10_000)
		}
		if err != nil || n != 1 || events[0].Events != unix.EPOLLOUT {
			t.Fatalf("%s: got %d events, %v, %v, want EPOLLOUT", f.name, n, events[:max(n, 0)], err)
		}
		if errno := w.b.SocketError(s.inode(), s.fd); errno != ok {
			t.Errorf("%s: SO_ERROR: %v", f.name, errno)
		}
		s.say("hello")
		s.wantConnect(f.far+":7", ok) // as Linux tells once that it is made
		s.wantConnect(f.far+":7", unix.EISCONN)
	}
}

func TestConnectThatNobodyAnswersStaysPending(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, true)
	s.wantConnect("10.9.0.77:7", unix.EINPROGRESS)
	if got := s.poll(unix.POLLIN|unix.POLLOUT, moment); got != 0 {
		t.Errorf("got events %#x, want none", got)
	}
	s.wantConnect("10.9.0.77:7", unix.EALREADY)
	if _, errno := w.b.PeerName(s.inode(), s.fd); errno != unix.ENOTCONN {
		t.Errorf("getpeername: got %v, want ENOTCONN", errno)
	}
	// connect(2): AF_UNSPEC makes it a new one.
	if errno := s.connectWith(context.Background(), unspecified); errno != ok {
		t.Fatalf("disconnect: %v", errno)
	}
	w.echo("7")
	s.wantConnect("10.9.0.1:7", unix.EINPROGRESS)
	if got := s.poll(unix.POLLOUT, 10*time.Second); got != unix.POLLOUT {
		t.Fatalf("got events %#x, want POLLOUT", got)
	}
	s.say("hello")
}

func TestWhyAConnectFails(t *testing.T) {
	w := newStreamWorld(t)
	for _, c := range []struct {
		name, to string
		family   int
		want     unix.Errno
		at       bool // connect itself says so, also when it does not block
	}{
		{"refused", "10.9.0.1:9", unix.AF_INET, unix.ECONNREFUSED, false},
		{"refused, IPv6", "[fd09::1]:9", unix.AF_INET6, unix.ECONNREFUSED, false},
		{"no way there", "203.0.113.1:9", unix.AF_INET, unix.ENETUNREACH, true},
		{"no way there, IPv6", "[2001:db8::1]:9", unix.AF_INET6, unix.ENETUNREACH, true},
		{"nobody on loopback", "127.0.0.1:9", unix.AF_INET, unix.ECONNREFUSED, false},
		{"nobody on loopback, IPv6", "[::1]:9", unix.AF_INET6, unix.ECONNREFUSED, false},
		{"nobody at a wildcard", "0.0.0.0:9", unix.AF_INET, unix.ECONNREFUSED, false},
		{"nobody at our own address", "10.9.0.2:9", unix.AF_INET, unix.ECONNREFUSED, false},
	} {
		s := w.socket(c.family, false)
		s.wantConnect(c.to, c.want)
		s = w.socket(c.family, true)
		if c.at {
			s.wantConnect(c.to, c.want)
			continue
		}
		s.wantConnect(c.to, unix.EINPROGRESS)
		if got := s.poll(unix.POLLOUT, 10*time.Second); got&unix.POLLERR == 0 {
			t.Errorf("%s: got events %#x, want POLLERR", c.name, got)
		}
		if got := w.b.SocketError(s.inode(), s.fd); got != c.want {
			t.Errorf("%s: SO_ERROR: got %v, want %v", c.name, got, c.want)
		}
		if got := w.b.SocketError(s.inode(), s.fd); got != ok {
			t.Errorf("%s: SO_ERROR, once more: got %v, want none", c.name, got)
		}
	}
}

// Who does not ask for SO_ERROR hears of a refusal all the same.
func TestRefusalIsTheKernelsOwn(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, true)
	s.wantConnect("10.9.0.1:9", unix.EINPROGRESS)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		s.poll(unix.POLLIN, time.Second)
		_, err := unix.Read(s.fd, make([]byte, 1))
		if err == unix.ECONNREFUSED {
			return
		}
		if err != unix.ENOTCONN && err != unix.EAGAIN && err != unix.ECONNRESET {
			t.Fatalf("read: got %v, want ECONNREFUSED", err)
		}
	}
	t.Error("read never said ECONNREFUSED")
}

// A FIN is a FIN in both directions, and a RST a RST.
func TestHowAConnectionEndsIsCarried(t *testing.T) {
	w := newStreamWorld(t)
	l, err := w.far.Listen(context.Background(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far := make(chan net.Conn, 1) // each connection in turn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			far <- c
		}
	}()
	open := func() (near, there net.Conn) {
		s := w.socket(unix.AF_INET, false)
		s.wantConnect("10.9.0.1:80", ok)
		near = s.conn()
		s.close()
		there = <-far
		there.SetDeadline(time.Now().Add(10 * time.Second))
		near.SetDeadline(time.Now().Add(10 * time.Second))
		return near, there
	}
	near, there := open()
	io.WriteString(near, "all")
	near.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(there); string(b) != "all" || err != nil {
		t.Errorf("got %q, %v, want all and an end", b, err)
	}
	io.WriteString(there, "answer")
	there.Close()
	if b, err := io.ReadAll(near); string(b) != "answer" || err != nil {
		t.Errorf("got %q, %v, want the answer and an end", b, err)
	}
	// A RST after the FIN, as when something is written to nobody.
	near, there = open()
	there.(interface{ CloseWrite() error }).CloseWrite()
	if b, err := io.ReadAll(near); len(b) > 0 || err != nil {
		t.Errorf("got %q, %v, want an end", b, err)
	}
	there.(interface{ SetLinger(int) error }).SetLinger(0)
	there.Close()
	if err := waitFor(context.Background(), descriptor(t, near), unix.POLLERR, time.After(10*time.Second)); err != ok {
		t.Fatalf("no event: %v", err)
	}
	if _, err := near.Write([]byte("to nobody")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("after a RST from afar that follows a FIN: got %v, want EPIPE", err)
	}
	near, there = open()
	there.(interface{ SetLinger(int) error }).SetLinger(0)
	there.Close()
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after a RST from afar: got %v, want ECONNRESET", err)
	}
	near, there = open()
	near.(*net.TCPConn).SetLinger(0)
	near.Close()
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after a RST from here: got %v, want ECONNRESET", err)
	}
}

// A thousand at once, one of which never gets an answer.
func TestConnectsDoNotWaitForEachOther(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	slow := w.socket(unix.AF_INET, true)
	slow.wantConnect("10.9.0.77:7", unix.EINPROGRESS)
	done := make(chan error, 200)
	for i := range cap(done) {
		s := w.socket(unix.AF_INET, false)
		go func() {
			if errno := s.connect("10.9.0.1:7"); errno != ok {
				done <- errno
				return
			}
			c := s.conn()
			defer c.Close()
			text := strings.Repeat("x", i+1)
			io.WriteString(c, text)
			_, err := io.ReadFull(c, make([]byte, len(text)))
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if got := slow.poll(unix.POLLOUT, 0); got != 0 {
		t.Errorf("the silent one has events %#x", got)
	}
}

// A caller that gives up does not end the connection: its next call finds it.
func TestConnectThatIsInterruptedGoesOn(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, false)
	// A limit makes the call itself wait, as in a program that is interrupted.
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 50_000})
	s.wantConnect("10.9.0.77:7", unix.EINPROGRESS)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if errno := s.connectWith(ctx, sockaddr(s.family, addr("10.9.0.77:7"))); errno != unix.EINTR {
		t.Errorf("got %v, want EINTR", errno)
	}
	s.wantConnect("10.9.0.77:7", unix.EALREADY)
}

// Who has heard that it is connected and asks by another connect, as Redis's client
// does, is not told that it is pending.
func TestConnectAfterTheEventIsNotPending(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	for range 200 {
		s := w.socket(unix.AF_INET, true)
		s.wantConnect("10.9.0.1:7", unix.EINPROGRESS)
		for s.poll(unix.POLLOUT, 10*time.Second) != unix.POLLOUT {
		}
		if errno := s.connect("10.9.0.1:7"); errno != ok && errno != unix.EISCONN {
			t.Fatalf("got %v, want none or EISCONN", errno)
		}
		s.close()
	}
}

// Whatever a program has done to a socket before, it listens where the broker says or
// not at all.
func TestNothingListensWhereTheHostDoes(t *testing.T) {
	w := newStreamWorld(t)
	for _, c := range []struct {
		name   string
		before func(s *testStream)
	}{
		{"not bound", func(*testStream) {}},
		{"connected before, to nobody", func(s *testStream) { s.connect("127.0.0.1:9") }},
		{"connected before, and refused afar", func(s *testStream) { s.connect("10.9.0.1:9") }},
		{"bound by the kernel", func(s *testStream) {
			unix.Bind(s.fd, toUnix(s.family, netip.MustParseAddrPort("127.0.0.1:0")))
		}},
		{"bound by the kernel to a port", func(s *testStream) {
			unix.Bind(s.fd, toUnix(s.family, netip.MustParseAddrPort("0.0.0.0:47123")))
		}},
	} {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			s := w.socket(family, false)
			c.before(s)
			errno := w.b.Listen(s.inode(), s.fd, 1)
			local, err := nativeLocal(s.fd)
			if errno == ok && (err != nil || !w.b.lo.holds(local.Addr())) {
				t.Errorf("%s: it listens at %v", c.name, local)
			}
			if listening, _ := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); errno != ok && listening != 0 {
				t.Errorf("%s: listen says %v, and it listens at %v", c.name, errno, local)
			}
			s.close()
		}
	}
}

// A socket that cannot be had any more hears of the failure all the same.
func TestFailureReachesASocketThatCannotBeHad(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, true)
	w.sockets.Delete(s.inode())
	s.wantConnect("10.9.0.1:9", unix.EINPROGRESS)
	for s.poll(unix.POLLIN, 10*time.Second)&unix.POLLERR == 0 {
	}
	if got := w.b.SocketError(s.inode(), s.fd); got != unix.ECONNREFUSED {
		t.Errorf("SO_ERROR: got %v, want ECONNREFUSED", got)
	}
}

// A program that closes a socket whose connect is pending leaves nothing of it here.
func TestPendingConnectDoesNotKeepTheSocket(t *testing.T) {
	w := newStreamWorld(t)
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := count()
	for range 100 {
		s := w.socket(unix.AF_INET, true)
		s.wantConnect("10.9.0.77:9", unix.EINPROGRESS)
		s.close()
	}
	if after := count(); after > before+10 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// descriptor returns c's own.
func descriptor(t testing.TB, c net.Conn) (fd int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// A connection that is late keeps nobody from another, and is found when it comes,
// whoever has accepted it.
func TestClaimOfALateConnectionHindersNobody(t *testing.T) {
	w := newStreamWorld(t)
	lo := w.b.lo
	connect := func(option int) (int, netip.AddrPort) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if option != 0 {
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, 1)
		}
		if err := unix.Connect(fd, toUnix(unix.AF_INET, lo.relay)); err != nil {
			t.Fatal(err)
		}
		local, err := nativeLocal(fd)
		if err != nil {
			t.Fatal(err)
		}
		return fd, local
	}
	// Its last acknowledgement waits for data, or 200 ms: tcp(7).
	const lateBy = 200 * time.Millisecond
	attempt := func() (took time.Duration) {
		begin := time.Now()
		late, at := connect(unix.TCP_DEFER_ACCEPT)
		defer unix.Close(late)
		claimed := make(chan error, 1)
		go func() {
			fd, err := lo.claim(at)
			if err == nil {
				unix.Close(fd)
			}
			claimed <- err
		}()
		<-time.After(lateBy / 10) // it waits by now, mostly
		for range 5 {
			fd, local := connect(0)
			near, err := lo.claim(local)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(near)
			unix.Close(fd)
		}
		took = time.Since(begin)
		if err := <-claimed; err != nil {
			t.Errorf("the late one: %v", err)
		}
		return took
	}
	// On a machine that is busy others may take as long by themselves, not always.
	var took time.Duration
	for range 5 {
		if took = attempt(); took < lateBy {
			return
		}
	}
	t.Errorf("five others are there after %v, as the late one", took)
}
