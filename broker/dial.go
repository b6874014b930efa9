package broker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A dial is a connection through the tunnel that is being made for a socket of the
// program's.
type dial struct {
	ino    uint64
	family int
	far    netip.AddrPort
	local  netip.AddrPort // what the program's end is called meanwhile; under streams.mu
	ends   bool           // the socket is being told how it has ended; under streams.mu

	cancel     context.CancelCauseFunc
	started    func()        // to be called when the SYN has left
	soon, late func()        // what was begun then, to be stopped: the look of a pending connect, its end
	copied     bool          // fd is open at first
	done       chan struct{} // closed when it has come to its end; then:
	errno      syscall.Errno
	took       time.Duration // in the tunnel

	mu      sync.Mutex     // guards what follows; before streams.mu
	fd      int            // of the program's socket, ours; -1 if it is borrowed again when needed
	pends   bool           // the socket's own connect is pending, in the hole
	native  netip.AddrPort // and this is what the kernel calls it then
	who     identity
	waiters int  // calls that wait for the end
	decided bool // it is known how it ends: none of these changes any more, and
	told    bool // somebody was waiting
}

// connectFar connects through the tunnel.
func (b *Broker) connectFar(ctx context.Context, ino uint64, family, fd int, far, local netip.AddrPort, nonblock bool, waits func()) Result {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return Result{Errno: errnoOf(err)}
	}
	d := &dial{ino: ino, family: family, fd: own, far: far, local: local, done: make(chan struct{})}
	if family == unix.AF_INET6 {
		speakIPv4(fd)
	}
	if nonblock {
		if errno := b.pend(d); errno != ok {
			d.close()
			return Result{Errno: errno}
		}
	}
	d.copied = d.fd >= 0
	var dialCtx context.Context
	dialCtx, d.cancel = context.WithCancelCause(b.ctx)
	limit := patience(fd)
	// What follows is done once the SYN has left: none of it is to hold that up.
	d.started = func() {
		if !nonblock {
			waits()
			d.soon = b.After(pendAfter, func() { b.pend(d) })
		}
		d.late = b.After(limit, func() { d.cancel(context.DeadlineExceeded) })
		if d.copied {
			b.watchClosed()
		}
	}
	s := &b.streams
	s.mu.Lock()
	s.dials[ino] = d
	s.mu.Unlock()
	if nonblock {
		s.running.Go(func() { b.makeAndRelay(dialCtx, d) })
		return Result{Errno: unix.EINPROGRESS}
	}
	if timeout(fd, unix.SO_SNDTIMEO) != nil {
		waits()
		s.running.Go(func() { b.makeAndRelay(dialCtx, d) })
		return b.await(ctx, d, fd)
	}
	return b.makeHere(ctx, dialCtx, d, fd)
}

// makeHere makes the connection for a call that waits, without another goroutine. If
// its caller gives up meanwhile, it goes on all the same, but for nobody it does not.
func (b *Broker) makeHere(ctx, dialCtx context.Context, d *dial, fd int) (r Result) {
	d.mu.Lock()
	d.waiters++
	d.mu.Unlock()
	leave := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == ErrGone {
			d.cancel(nil)
			return
		}
		b.pend(d)
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.decided {
			d.waiters--
		}
	})
	defer leave()
	near, far := b.make(dialCtx, d)
	r.Errno = unix.EINTR
	if d.told {
		r = b.tell(d, fd)
	}
	if d.errno == ok {
		b.streams.running.Add(1)
		r.Relay = func() {
			defer b.streams.running.Done()
			b.carryOn(d, near, far)
		}
	}
	return r
}

// await waits for the end of a dial, as a connect of fd does.
func (b *Broker) await(ctx context.Context, d *dial, fd int) Result {
	d.mu.Lock()
	d.waiters++
	d.mu.Unlock()
	errno := syscall.Errno(unix.EINTR)
	select {
	case <-d.done:
	case <-ctx.Done():
	case <-timeout(fd, unix.SO_SNDTIMEO):
		errno = unix.EINPROGRESS // socket(7), SO_SNDTIMEO
	}
	b.pend(d)
	d.mu.Lock()
	d.waiters--
	decided := d.decided
	d.mu.Unlock()
	if !decided {
		return Result{Errno: errno}
	}
	<-d.done
	return b.tell(d, fd)
}

// tell returns how a dial has ended to a call that has waited for it: then the socket
// is idle, if it is not connected.
func (b *Broker) tell(d *dial, fd int) Result {
	if d.errno == ok {
		if d.pends {
			// It hears that the connection has been made: once. Should another thread have
			// made the socket idle meanwhile, it leads to nobody.
			unix.Connect(fd, toUnix(d.family, b.lo.nobody))
		}
		return Result{}
	}
	if d.pends {
		idle(fd)
	}
	return Result{Errno: d.errno, Untold: func() {
		b.streams.mu.Lock()
		remember(b.streams.failed, d.ino, failure{errno: d.errno})
		b.streams.mu.Unlock()
		b.refuse(d.family, fd)
	}}
}

// decide ends what could change in a dial.
func (d *dial) decide() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decided, d.told = true, d.waiters > 0
}

// stop ends what goes on for a dial that has come to its end.
func (d *dial) stop() {
	d.cancel(nil)
	for _, stop := range []func(){d.soon, d.late} {
		if stop != nil {
			stop()
		}
	}
	d.started, d.soon, d.late = nil, nil, nil // the connection may last
}

// close gives back the socket.
func (d *dial) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

// makeAndRelay makes the connection and carries it to its end.
func (b *Broker) makeAndRelay(ctx context.Context, d *dial) {
	if near, far := b.make(ctx, d); d.errno == ok {
		b.carryOn(d, near, far)
	}
}

// make makes the connection and joins the program's socket to one of ours, near.
func (b *Broker) make(ctx context.Context, d *dial) (near int, far net.Conn) {
	defer d.stop()
	defer d.close()
	begin := time.Now()
	far, err := b.dialFar(ctx, d.far, d.started)
	d.took = time.Since(begin)
	d.decide()
	if err != nil && context.Cause(ctx) == context.DeadlineExceeded {
		err = context.DeadlineExceeded
	}
	if err == nil {
		b.streams.nameDial(d, far)
		if near, err = b.join(d); err != nil {
			err = fmt.Errorf("join: %w", err)
			far.Close()
		}
	}
	if d.errno = errnoOf(err); d.errno != ok {
		b.log.Debug("connect", "addr", d.far, "took", d.took, "err", err)
	}
	if d.errno != ok && d.pends && !d.told && context.Cause(ctx) != context.Canceled {
		b.fail(d)
	}
	b.streams.settle(d)
	if d.errno == ok {
		b.settled(d.ino)
	}
	d.close() // before anybody can be told who then closes the socket
	close(d.done)
	return near, far
}

// carryOn carries a connection that has been made, until it ends.
func (b *Broker) carryOn(d *dial, near int, far net.Conn) {
	b.log.Debug("connect", "addr", d.far, "took", d.took) // only now: the program has been told
	if c, err := streamConn(near); err != nil {
		far.Close()
	} else {
		b.relay(c, far)
	}
	b.streams.forget(d.ino, d.far)
}

// settle notes how a dial has ended.
func (s *streams) settle(d *dial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dials, d.ino)
	if d.errno != ok {
		return
	}
	s.names[d.ino] = names{d.family, d.local, d.far}
}

// nameDial notes what the program's end is called, before the program can hear that
// it is connected.
func (s *streams) nameDial(d *dial, far net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.ends = d.pends
	if local := addrPortOf(far.LocalAddr()); local.IsValid() {
		d.local = local
	}
}

// A starter is a Dialer that tells when it has begun: see [netstack.Stack.DialTCP].
type starter interface {
	DialTCP(ctx context.Context, far netip.AddrPort, started func()) (net.Conn, error)
}

func (b *Broker) dialFar(ctx context.Context, far netip.AddrPort, started func()) (net.Conn, error) {
	if s, can := b.cfg.Dialer.(starter); can && !b.isStub(far) {
		return s.DialTCP(ctx, far, started)
	}
	started()
	if b.isStub(far) {
		return b.stubConn()
	}
	return b.cfg.Dialer.DialContext(ctx, "tcp", far.String())
}

// join connects the program's socket to a new one of ours.
func (b *Broker) join(d *dial) (near int, err error) {
	if d.pends {
		return b.lo.hole.pull(d.native, d.who)
	}
	b.lo.drain()
	if err := unix.Connect(d.fd, toUnix(d.family, b.lo.relay)); err != nil {
		return -1, err
	}
	local, err := nativeLocal(d.fd)
	if err != nil {
		return -1, err
	}
	return b.lo.claim(local)
}

// patience is how long a connect of fd may take: its TCP_USER_TIMEOUT, or the time in
// which the kernel sends TCP_SYNCNT more SYNs, each after twice as long as the one
// before (tcp(7), RFC 6298).
func patience(fd int) time.Duration {
	if ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT)
	if err != nil || n < 1 || n > 10 {
		n = 6 // net.ipv4.tcp_syn_retries
	}
	return time.Duration(1<<(n+1)-1) * time.Second
}

// dialOf returns what is being done for a socket, nil if that is nothing.
func (s *streams) dialOf(ino uint64) (d *dial, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d = s.dials[ino]
	return d, d != nil && d.ends
}
