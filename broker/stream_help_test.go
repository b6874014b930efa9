package broker

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"adit/netstack"

	"golang.org/x/sys/unix"
)

// A streamWorld is a Broker over the near Stack of newNetwork, and the far one.
type streamWorld struct {
	t   testing.TB
	b   *Broker
	far *netstack.Stack

	sockets sync.Map // descriptors by inode
}

// borrow returns a copy of a socket of the program's.
func (w *streamWorld) borrow(ino uint64) int {
	fd, there := w.sockets.Load(ino)
	if !there {
		return -1
	}
	own, err := unix.Dup(fd.(int))
	if err != nil {
		return -1
	}
	return own
}

func newStreamWorld(t testing.TB) *streamWorld {
	t.Helper()
	return newStreamWorldOver(t, func(d netstack.Dialer) netstack.Dialer { return d })
}

// newStreamWorldOver is newStreamWorld whose Broker dials by what over makes.
func newStreamWorldOver(t testing.TB, over func(netstack.Dialer) netstack.Dialer) *streamWorld {
	t.Helper()
	near, far := newNetwork(t)
	w := &streamWorld{t: t, far: far}
	b, err := New(Config{Dialer: over(near), Addresses: []netip.Addr{near4, near6}, Borrow: w.borrow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	w.b = b
	return w
}

// echo serves TCP at a port of the far Stack: what comes is sent back.
func (w *streamWorld) echo(port string) {
	w.t.Helper()
	l, err := w.far.Listen(context.Background(), "tcp", ":"+port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

// A testStream is a TCP socket as the program has it.
type testStream struct {
	w      *streamWorld
	fd     int
	family int
	untold func() // of the last connect
}

func (w *streamWorld) socket(family int, nonblock bool) *testStream {
	w.t.Helper()
	fd, errno := w.b.NewStream(family, nonblock)
	if errno != ok {
		w.t.Fatalf("socket: %v", errno)
	}
	s := &testStream{w: w, fd: fd, family: family}
	// No test waits for ever.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	w.t.Cleanup(s.close)
	w.sockets.Store(s.inode(), fd)
	return s
}

func (s *testStream) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

func (s *testStream) inode() uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		s.w.t.Fatal(err)
	}
	return st.Ino
}

func (s *testStream) connect(to string) syscall.Errno {
	return s.connectWith(context.Background(), sockaddr(s.family, addr(to)))
}

func (s *testStream) connectWith(ctx context.Context, sa []byte) syscall.Errno {
	r := s.w.b.Connect(ctx, s.inode(), s.fd, sa, func() {})
	if r.Relay != nil {
		go r.Relay()
	}
	s.untold = r.Untold
	return r.Errno
}

func (s *testStream) wantConnect(to string, want syscall.Errno) {
	s.w.t.Helper()
	if got := s.connect(to); got != want {
		s.w.t.Fatalf("connect to %s: got %v, want %v", to, got, want)
	}
}

func (s *testStream) wantBind(at string, want syscall.Errno) {
	s.w.t.Helper()
	if got := s.w.b.Bind(s.inode(), s.fd, sockaddr(s.family, addr(at))); got != want {
		s.w.t.Fatalf("bind to %s: got %v, want %v", at, got, want)
	}
}

// poll waits for events and returns those that are there, 0 after a moment
// without any.
func (s *testStream) poll(events int16, patience time.Duration) int16 {
	s.w.t.Helper()
	for {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			s.w.t.Fatal(err)
		}
		if n == 0 {
			return 0
		}
		return fds[0].Revents
	}
}

// localName is where it can be connected to, if it listens.
func (s *testStream) localName() string {
	s.w.t.Helper()
	l, errno := s.w.b.LocalName(s.inode(), s.fd)
	if errno != ok {
		s.w.t.Fatalf("getsockname: %v", errno)
	}
	return s.parse(l).String()
}

func (s *testStream) names() (local, peer netip.AddrPort) {
	s.w.t.Helper()
	l, errno := s.w.b.LocalName(s.inode(), s.fd)
	if errno != ok {
		s.w.t.Fatalf("getsockname: %v", errno)
	}
	p, errno := s.w.b.PeerName(s.inode(), s.fd)
	if errno != ok {
		s.w.t.Fatalf("getpeername: %v", errno)
	}
	return s.parse(l), s.parse(p)
}

func (s *testStream) parse(sa []byte) netip.AddrPort {
	a, errno := parseSockaddr(s.family, sa)
	if errno != ok {
		s.w.t.Fatalf("the address %x: %v", sa, errno)
	}
	return a
}

// say sends text and wants it back.
func (s *testStream) say(text string) {
	s.w.t.Helper()
	conn := s.conn()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		s.w.t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != text {
		s.w.t.Fatalf("got %q, %v, want %q", b, err, text)
	}
}

// conn is a copy of the socket for package net. The socket does not block any more.
func (s *testStream) conn() net.Conn {
	s.w.t.Helper()
	fd, err := unix.Dup(s.fd)
	if err != nil {
		s.w.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return c
}
