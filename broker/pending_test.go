package broker

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"adit/netstack"

	"golang.org/x/sys/unix"
)

// A lateDialer makes TCP connections once it is let.
type lateDialer struct {
	netstack.Dialer
	asked chan struct{} // sent to when one is to be made
	let   chan struct{} // closed
}

func (d lateDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network == "tcp" {
		d.asked <- struct{}{}
		select {
		case <-d.let:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return d.Dialer.DialContext(ctx, network, address)
}

// A pendingConnect is a connect of a socket that blocks, whose connection is not made
// before it is let.
type pendingConnect struct {
	*testStream
	let    func()
	ctx    context.Context
	cancel context.CancelFunc
	errno  chan syscall.Errno // what it returns
	w      *streamWorld
}

func newLateWorld(t *testing.T, d lateDialer) *streamWorld {
	return newStreamWorldOver(t, func(below netstack.Dialer) netstack.Dialer {
		d.Dialer = below
		return d
	})
}

func newPendingConnect(t *testing.T, family int, to string, limit time.Duration) *pendingConnect {
	d := lateDialer{asked: make(chan struct{}, 8), let: make(chan struct{})}
	w := newLateWorld(t, d)
	c := &pendingConnect{testStream: w.socket(family, false), let: func() { close(d.let) }, errno: make(chan syscall.Errno, 1), w: w}
	if limit > 0 {
		tv := unix.NsecToTimeval(int64(limit))
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(c.cancel)
	go func() { c.errno <- c.connectWith(c.ctx, sockaddr(family, addr(to))) }()
	<-d.asked
	return c
}

// wantEvents waits until the socket has just these events.
func (c *pendingConnect) wantEvents(want int16) {
	c.w.t.Helper()
	var got int16
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP}}
		if _, err := unix.Poll(fds, 1); err == nil {
			if got = fds[0].Revents; got == want {
				return
			}
		}
	}
	c.w.t.Fatalf("got events %#x, want %#x", got, want)
}

// wantPending waits until the socket's own connect is pending, and n calls wait for it.
// Its events tell less: they are those already while its names are noted, and before a
// call that was given up is counted as one.
func (c *pendingConnect) wantPending(n int) {
	c.w.t.Helper()
	waitUntil(c.w.t, func() bool {
		d, _ := c.w.b.streams.dialOf(c.inode())
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.pends && d.waiters == n
	})
	c.wantEvents(0)
}

const refusedEvents = unix.POLLIN | unix.POLLOUT | unix.POLLERR | unix.POLLHUP | unix.POLLRDHUP

// A thread that waits in connect is seen by the others as Linux shows it: as long as
// the connection is being made, there is nothing.
func TestConnectThatWaitsIsSilent(t *testing.T) {
	for _, f := range streamFamilies {
		c := newPendingConnect(t, f.family, f.far+":7", 0)
		c.w.echo("7")
		c.wantPending(1)
		if _, errno := c.w.b.PeerName(c.inode(), c.fd); errno != unix.ENOTCONN {
			t.Errorf("%s: getpeername: got %v, want ENOTCONN", f.name, errno)
		}
		sa, _ := c.w.b.LocalName(c.inode(), c.fd)
		if local := c.parse(sa); local.Addr() != addr(f.own+":0").Addr().Unmap() || local.Port() == 0 {
			t.Errorf("%s: getsockname: got %v, want %s and a port", f.name, local, f.own)
		}
		if isNonblocking(c.fd) {
			t.Errorf("%s: the socket does not block any more", f.name)
		}
		c.let()
		if errno := <-c.errno; errno != ok {
			t.Fatalf("%s: got %v", f.name, errno)
		}
		c.wantEvents(unix.POLLOUT)
		c.say("hello")
		c.wantConnect(f.far+":7", unix.EISCONN)
	}
}

// Who waits is told why, and nobody is told once more.
func TestFailureThatIsWaitedForIsToldOnce(t *testing.T) {
	c := newPendingConnect(t, unix.AF_INET, "10.9.0.1:9", 0)
	c.wantEvents(0)
	c.let()
	if errno := <-c.errno; errno != unix.ECONNREFUSED {
		t.Errorf("got %v, want ECONNREFUSED", errno)
	}
	if errno := c.w.b.SocketError(c.inode(), c.fd); errno != ok {
		t.Errorf("SO_ERROR: got %v, want none", errno)
	}
	c.wantEvents(unix.POLLOUT | unix.POLLHUP) // of an idle one
	c.w.echo("7")
	c.wantConnect("10.9.0.1:7", ok)
}

// After EINTR a program polls, and asks for SO_ERROR (connect(2)).
func TestConnectThatASignalEndedIsPending(t *testing.T) {
	for _, row := range []struct {
		name, to string
		limit    time.Duration
		errno    syscall.Errno
		events   int16
		socket   syscall.Errno
	}{
		{"a signal", "10.9.0.1:7", 0, unix.EINTR, unix.POLLOUT, ok},
		{"a signal, refused", "10.9.0.1:9", 0, unix.EINTR, refusedEvents, unix.ECONNREFUSED},
		{"a signal, limited", "10.9.0.1:7", time.Hour, unix.EINTR, unix.POLLOUT, ok},
		{"the limit", "10.9.0.1:7", moment, unix.EINPROGRESS, unix.POLLOUT, ok},
		{"the limit, refused", "10.9.0.1:9", moment, unix.EINPROGRESS, refusedEvents, unix.ECONNREFUSED},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newPendingConnect(t, unix.AF_INET, row.to, row.limit)
			c.w.echo("7")
			if row.errno == unix.EINTR {
				c.cancel()
				c.wantPending(0)
				if row.limit == 0 {
					c.let()
				}
			}
			if row.limit > 0 {
				if errno := <-c.errno; errno != row.errno {
					t.Errorf("got %v, want %v", errno, row.errno)
				}
				c.wantEvents(0)
				c.let()
			}
			c.wantEvents(row.events)
			if errno := c.w.b.SocketError(c.inode(), c.fd); errno != row.socket {
				t.Errorf("SO_ERROR: got %v, want %v", errno, row.socket)
			}
			if row.socket == ok {
				c.say("hello")
			}
		})
	}
}

// What getsockopt has said to nobody, for a signal came, it says once more.
func TestErrorThatNobodyHeardIsSaidAgain(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, true)
	s.wantConnect("10.9.0.1:9", unix.EINPROGRESS)
	for s.poll(unix.POLLIN, 10*time.Second)&unix.POLLERR == 0 {
	}
	for range 2 {
		errno := w.b.SocketError(s.inode(), s.fd)
		if errno != unix.ECONNREFUSED {
			t.Errorf("got %v, want ECONNREFUSED", errno)
		}
		w.b.ReturnError(s.inode(), errno)
	}
}

// A failure of which nobody was told stays with the socket.
func TestFailureThatNobodyWasToldIsKept(t *testing.T) {
	w := newStreamWorld(t)
	s := w.socket(unix.AF_INET, false)
	s.wantConnect("10.9.0.1:9", unix.ECONNREFUSED)
	s.untold()
	if got := s.poll(unix.POLLIN|unix.POLLOUT, 0); got&unix.POLLERR == 0 {
		t.Errorf("got events %#x, want POLLERR among them", got)
	}
	if errno := w.b.SocketError(s.inode(), s.fd); errno != unix.ECONNREFUSED {
		t.Errorf("SO_ERROR: got %v, want ECONNREFUSED", errno)
	}
	s.wantConnect("10.9.0.3:9", unix.ECONNREFUSED)
	s.untold()
	w.echo("7")
	s.wantConnect("10.9.0.1:7", unix.ECONNREFUSED) // of the other one
	s.wantConnect("10.9.0.1:7", ok)
	if s.wantConnect("10.9.0.1:7", unix.EISCONN); s.untold != nil {
		t.Error("a socket that is connected would be none any more")
	}
}

// A connect that only asks how the socket's own has ended finds it idle, if another thread
// has made it so: it leads to nobody then, whoever of the host listens where the hole or
// the socket was.
func TestConnectThatOnlyAsksLeadsToNobody(t *testing.T) {
	w := newStreamWorld(t)
	host, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	s := w.socket(unix.AF_INET, false)
	d := &dial{ino: s.inode(), family: unix.AF_INET, pends: true, native: host.Addr().(*net.TCPAddr).AddrPort()}
	w.b.tell(d, s.fd)
	if peer, err := nativePeer(s.fd); err == nil {
		t.Errorf("it is connected to %v, want it refused", peer)
	}
}

// A connect that shutdown(2) ends the moment it begins leads to nothing, whatever the
// kernel calls the socket then: of an IPv6 one no address of IPv4.
func TestConnectThatIsShutDownAtOnceHarmsNobody(t *testing.T) {
	w := newStreamWorld(t)
	w.echo("7")
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for i := range 100 {
			s := w.socket(family, true)
			if i%2 == 0 { // it keeps its name then
				s.wantBind(map[int]string{unix.AF_INET: "0.0.0.0:0", unix.AF_INET6: "[::]:0"}[family], ok)
			}
			over, stop := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(over)
				for {
					select {
					case <-stop:
						return
					default:
						unix.Shutdown(s.fd, unix.SHUT_RDWR)
					}
				}
			}()
			errno := s.connectWith(context.Background(), sockaddr(family, addr("10.9.0.1:7")))
			if errno != unix.EINPROGRESS {
				t.Errorf("family %d: got %v, want EINPROGRESS", family, errno)
			}
			for end := time.Now().Add(10 * time.Second); ; {
				w.b.streams.mu.Lock()
				n := len(w.b.streams.dials)
				w.b.streams.mu.Unlock()
				if n == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%d connects have no end", n)
				}
				runtime.Gosched()
			}
			close(stop)
			<-over
			s.close()
		}
	}
	if fd, err := w.b.lo.hole.pull(netip.AddrPortFrom(netip.IPv6Unspecified(), 0), identity{}); err == nil {
		unix.Close(fd)
		t.Error("what is nowhere is joined to something")
	}
	s := w.socket(unix.AF_INET, false)
	s.wantConnect("10.9.0.1:7", ok)
}
