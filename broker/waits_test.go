package broker

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"adit/netstack"

	"golang.org/x/sys/unix"
)

// A slowStarter is a Dialer whose SYN leaves when it is let, and is answered when that
// is let.
type slowStarter struct {
	netstack.Dialer
	asked, leave, answer chan struct{}
}

func (d slowStarter) DialTCP(ctx context.Context, far netip.AddrPort, started func()) (net.Conn, error) {
	d.asked <- struct{}{}
	<-d.leave
	started()
	select {
	case <-d.answer:
		return d.DialContext(ctx, "tcp", far.String())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A waiter is a connect that can be asked whether it has said that it waits.
type waiter struct {
	said   chan struct{} // closed
	result chan Result
}

func (s *testStream) connectAndSay(sa []byte) *waiter {
	w := &waiter{make(chan struct{}), make(chan Result, 1)}
	said := sync.OnceFunc(func() { close(w.said) })
	go func() {
		r := s.w.b.Connect(context.Background(), s.inode(), s.fd, sa, said)
		if r.Relay != nil {
			go r.Relay()
		}
		w.result <- r
	}()
	return w
}

func (w *waiter) hasSaid() bool {
	select {
	case <-w.said:
		return true
	default:
		return false
	}
}

func (w *waiter) wantSaid(t *testing.T, who string) {
	t.Helper()
	select {
	case <-w.said:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s has not said that it waits", who)
	}
}

func newSlowWorld(t *testing.T) (*streamWorld, slowStarter) {
	d := slowStarter{asked: make(chan struct{}, 8), leave: make(chan struct{}), answer: make(chan struct{})}
	w := newStreamWorldOver(t, func(below netstack.Dialer) netstack.Dialer {
		d.Dialer = below
		return d
	})
	w.echo("7")
	return w, d
}

// A connect that blocks says that it waits when its SYN has left, not before: to say so
// may cost as much as all else.
func TestConnectSaysThatItWaitsOnceTheSYNHasLeft(t *testing.T) {
	w, d := newSlowWorld(t)
	s := w.socket(unix.AF_INET, false)
	c := s.connectAndSay(sockaddr(unix.AF_INET, addr("10.9.0.1:7")))
	<-d.asked
	if c.hasSaid() {
		t.Error("it has said that it waits before the SYN left")
	}
	close(d.leave)
	c.wantSaid(t, "a connect whose SYN has left")
	close(d.answer)
	if r := <-c.result; r.Errno != ok {
		t.Errorf("got %v", r.Errno)
	}
}

// What waits for something else says so first: another call's connection, its end, a
// listener of the program's, whose queue may be full.
func TestConnectThatWaitsForOthersSaysSo(t *testing.T) {
	far := sockaddr(unix.AF_INET, addr("10.9.0.1:7"))
	for _, row := range []struct {
		name string
		sa   []byte
		want syscall.Errno
	}{
		{"a second connect", far, ok},
		{"a disconnect", unspecified, ok},
	} {
		w, d := newSlowWorld(t)
		s := w.socket(unix.AF_INET, false)
		first := s.connectAndSay(far)
		<-d.asked
		close(d.leave)
		first.wantSaid(t, row.name)
		second := s.connectAndSay(row.sa)
		second.wantSaid(t, row.name)
		close(d.answer)
		if r := <-second.result; r.Errno != row.want {
			t.Errorf("%s: got %v, want %v", row.name, r.Errno, row.want)
		}
		<-first.result
	}
	w, _ := newSlowWorld(t)
	c := w.socket(unix.AF_INET, false).connectAndSay(sockaddr(unix.AF_INET, addr("127.0.0.1:7")))
	if <-c.result; !c.hasSaid() {
		t.Error("a connect to the program's own loopback has not said that it may wait")
	}
}

// One that has a limit does not say so any later than it waits.
func TestConnectWithALimitSaysThatItWaits(t *testing.T) {
	w, d := newSlowWorld(t)
	s := w.socket(unix.AF_INET, false)
	unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 1000})
	c := s.connectAndSay(sockaddr(unix.AF_INET, addr("10.9.0.1:7")))
	<-d.asked
	if r := <-c.result; r.Errno != unix.EINPROGRESS || !c.hasSaid() {
		t.Errorf("got %v, and that it waits: %v; want EINPROGRESS and true", r.Errno, c.hasSaid())
	}
	close(d.leave)
	close(d.answer)
}

// The time that a connect may take is counted from its SYN on.
func TestConnectThatIsNotAnsweredTimesOut(t *testing.T) {
	w, d := newSlowWorld(t)
	close(d.leave)
	for _, nonblock := range []bool{false, true} {
		s := w.socket(unix.AF_INET, nonblock)
		unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20)
		began := time.Now()
		r := <-s.connectAndSay(sockaddr(unix.AF_INET, addr("10.9.0.1:7"))).result
		if nonblock {
			if r.Errno != unix.EINPROGRESS {
				t.Fatalf("got %v, want EINPROGRESS", r.Errno)
			}
			s.poll(unix.POLLOUT, 10*time.Second)
			r.Errno = w.b.SocketError(s.inode(), s.fd)
		}
		if took := time.Since(began); r.Errno != unix.ETIMEDOUT || took < 20*time.Millisecond {
			t.Errorf("nonblock %v: got %v after %v, want ETIMEDOUT after 20 ms", nonblock, r.Errno, took)
		}
	}
}
