package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A dial is a connection through the tunnel that is being made for a socket of the
// program's.
type dial struct {
	ino    uint64
	family int
	fd     int // of the program's socket, ours; -1 if it is borrowed again when needed
	far    netip.AddrPort
	local  netip.AddrPort // what the program's end is called meanwhile
	native netip.AddrPort // and by the kernel, if hole
	hole   bool           // the socket's own connect is pending
	ends   bool           // the socket is being told how it has ended; under streams.mu

	cancel context.CancelFunc
	done   chan struct{} // closed when it has come to its end; then:
	errno  syscall.Errno
}

// ErrGone is the cause of a context whose caller has ended, and not only given up.
var ErrGone = errors.New("the caller has ended")

// Connect is connect(2) of a TCP socket. A socket that blocks is waited for; if
// ctx ends first, the connection goes on to be made, and the call that follows
// finds it.
func (b *Broker) Connect(ctx context.Context, ino uint64, fd int, sa []byte) syscall.Errno {
	family, is := streamFamily(fd)
	if !is {
		return unix.EACCES
	}
	if len(sa) >= 2 && Family(sa) == unix.AF_UNSPEC {
		return b.disconnect(ino, fd)
	}
	far, errno := parseSockaddr(family, sa)
	if errno != 0 {
		return errno
	}
	far = toSomebody(far)
	nonblock := isNonblocking(fd)
	if d, ends := b.streams.dialOf(ino); d != nil && ends {
		<-d.done
	} else if d != nil && nonblock {
		return unix.EALREADY
	} else if d != nil {
		return d.wait(ctx, fd)
	}
	if errno := b.streams.takeFailure(ino); errno != 0 {
		unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) // told now
		return errno
	}
	if state, err := tcpState(fd); err != nil || state != tcpClose {
		return b.connectAgain(family, fd)
	}
	b.streams.forget(ino)
	if b.isOwn(far.Addr()) && (!b.isStub(far) || b.cfg.Answer == nil) {
		return b.connectOwn(ino, family, fd, far)
	}
	var local netip.AddrPort
	if nonblock {
		// That there is no way is told at once. Who waits hears it from the dial.
		if local, errno = b.route(far); errno != 0 {
			return errno
		}
	}
	return b.connectFar(ctx, ino, family, fd, far, local, nonblock)
}

// toSomebody is what the kernel makes of a wildcard as a destination: loopback.
func toSomebody(far netip.AddrPort) netip.AddrPort {
	switch far.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(home4, far.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), far.Port())
	}
	return far
}

// connectAgain is a connect of a socket that is not idle: the kernel knows what to
// say, and that it is connected already once it is.
func (b *Broker) connectAgain(family, fd int) syscall.Errno {
	to := b.lo.hole.at
	if peer, err := nativePeer(fd); err == nil {
		to = peer
	}
	return errnoOf(unix.Connect(fd, toUnix(family, to)))
}

// connectOwn connects to a listener of the program's own. Where there is none the
// kernel refuses, in its own way.
func (b *Broker) connectOwn(ino uint64, family, fd int, far netip.AddrPort) syscall.Errno {
	to, known := b.streams.listener(far)
	if !known {
		to = b.lo.nobody
	}
	if errno := b.leaveFrom(family, fd, far); errno != 0 {
		return errno
	}
	usual := far.Addr() == home4 && family == unix.AF_INET || far.Addr() == netip.IPv6Loopback()
	if !usual {
		defer b.streams.nameAfter(ino, family, fd, far)
	}
	errno := errnoOf(unix.Connect(fd, toUnix(family, to)))
	// On lo it is decided by now, also for a socket that does not block.
	if state, err := tcpState(fd); err == nil && state != tcpClose {
		b.settled(ino)
	}
	return errno
}

// leaveFrom binds a socket that connects to ::1 to the address that says so.
func (b *Broker) leaveFrom(family, fd int, far netip.AddrPort) syscall.Errno {
	if family == unix.AF_INET {
		return ok
	}
	local, err := nativeLocal(fd)
	if err != nil || local.Port() != 0 {
		return errnoOf(err)
	}
	speakIPv4(fd)
	if far.Addr().Is4() {
		return ok
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	return errnoOf(unix.Bind(fd, toUnix(family, netip.AddrPortFrom(b.lo.at(6), 0))))
}

// nameAfter notes that a socket was connected to an address of the program's own
// that the kernel does not know.
func (s *streams) nameAfter(ino uint64, family, fd int, far netip.AddrPort) {
	local, err := nativeLocal(fd)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	remember(s.called, ino, names{family, netip.AddrPortFrom(far.Addr(), local.Port()), far})
}

// route returns the address from which far is reached, or why it is not. Nothing
// is sent.
func (b *Broker) route(far netip.AddrPort) (netip.AddrPort, syscall.Errno) {
	if b.isStub(far) {
		return netip.AddrPortFrom(far.Addr(), 0), ok
	}
	port := far.Port()
	if port == 0 {
		port = 1
	}
	c, err := b.cfg.Dialer.DialContext(b.ctx, "udp", netip.AddrPortFrom(far.Addr(), port).String())
	if err != nil {
		return netip.AddrPort{}, errnoOf(err)
	}
	defer c.Close()
	return addrPortOf(c.LocalAddr()), ok
}

// connectFar connects through the tunnel.
func (b *Broker) connectFar(ctx context.Context, ino uint64, family, fd int, far, local netip.AddrPort, nonblock bool) syscall.Errno {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	d := &dial{ino: ino, family: family, fd: own, far: far, local: local, hole: nonblock, done: make(chan struct{})}
	if family == unix.AF_INET6 {
		speakIPv4(fd)
	}
	if nonblock {
		err := unix.Connect(own, toUnix(family, b.lo.hole.at))
		at, nameErr := nativeLocal(own)
		failed := err != unix.EINPROGRESS || nameErr != nil
		if failed || b.cfg.Borrow != nil {
			// A copy would keep the socket, should the program close it.
			unix.Close(own)
			d.fd = -1
		}
		if failed {
			return errnoOf(errors.Join(err, nameErr))
		}
		d.native, d.local = at, netip.AddrPortFrom(local.Addr(), at.Port())
	}
	dialCtx, cancel := context.WithTimeout(b.ctx, patience(fd))
	d.cancel = cancel
	s := &b.streams
	s.mu.Lock()
	s.dials[ino] = d
	s.mu.Unlock()
	switch {
	case nonblock:
		s.running.Go(func() { b.make(dialCtx, d) })
		return unix.EINPROGRESS
	case timeout(fd, unix.SO_SNDTIMEO) != nil:
		s.running.Go(func() { b.make(dialCtx, d) })
		return d.wait(ctx, fd)
	}
	// Nobody else waits. If the caller gives up meanwhile, it goes on all the same, but
	// for nobody it does not.
	stop := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == ErrGone {
			cancel()
		}
	})
	defer stop()
	b.make(dialCtx, d)
	return d.errno
}

// wait waits for the end of a dial, as a connect of fd does.
func (d *dial) wait(ctx context.Context, fd int) syscall.Errno {
	by := timeout(fd, unix.SO_SNDTIMEO)
	select {
	case <-d.done:
		return d.errno
	case <-ctx.Done():
		return unix.EINTR
	case <-by:
		return unix.EINPROGRESS // socket(7), SO_SNDTIMEO
	}
}

// make makes the connection and joins it to the program's socket.
func (b *Broker) make(ctx context.Context, d *dial) {
	defer d.cancel()
	if d.fd >= 0 {
		defer unix.Close(d.fd)
	}
	far, err := b.dialFar(ctx, d.far)
	var near net.Conn
	if err == nil {
		b.streams.nameDial(d, far)
		if near, err = b.join(d); err != nil {
			err = fmt.Errorf("join: %w", err)
			far.Close()
		}
	}
	d.errno = errnoOf(err)
	b.log.Debug("connect", "addr", d.far, "err", err)
	if d.errno != ok && d.hole && ctx.Err() != context.Canceled {
		b.fail(d)
	}
	b.streams.settle(d)
	if d.errno == ok {
		b.settled(d.ino)
	}
	close(d.done)
	if d.errno == ok {
		b.streams.running.Go(func() {
			b.relay(near, far)
			b.streams.forget(d.ino, d.far)
		})
	}
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
	d.ends = d.hole
	if local := addrPortOf(far.LocalAddr()); local.IsValid() {
		d.local = local
	}
}

func (b *Broker) dialFar(ctx context.Context, far netip.AddrPort) (net.Conn, error) {
	if b.isStub(far) {
		return b.stubConn()
	}
	return b.cfg.Dialer.DialContext(ctx, "tcp", far.String())
}

// join connects the program's socket to a new one of ours.
func (b *Broker) join(d *dial) (net.Conn, error) {
	var fd int
	var err error
	if d.hole {
		fd, err = b.lo.hole.pull(d.native)
	} else if b.lo.drain(); err == nil {
		err = unix.Connect(d.fd, toUnix(d.family, b.lo.relay))
	}
	if err == nil && !d.hole {
		var local netip.AddrPort
		if local, err = nativeLocal(d.fd); err == nil {
			fd, err = b.lo.claim(local)
		}
	}
	if err != nil {
		return nil, err
	}
	return streamConn(fd)
}

// fail ends the pending connect of the program's socket. Who waits for it hears of an
// error, and asks which: the kernel's own is a refusal, with all its events. A
// socket that cannot be had any more is reached by its address: the connection is made,
// and broken.
func (b *Broker) fail(d *dial) {
	s := &b.streams
	s.mu.Lock()
	d.ends = true
	remember(s.failed, d.ino, d.errno)
	s.mu.Unlock()
	fd := d.fd
	if b.cfg.Borrow != nil {
		if fd = b.cfg.Borrow(d.ino); fd >= 0 {
			defer unix.Close(fd)
		}
	}
	if fd < 0 {
		if end, err := b.lo.hole.pull(d.native); err == nil {
			unix.SetsockoptLinger(end, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			unix.Close(end)
		}
		return
	}
	rawConnect(fd, unspecified)
	unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	unix.Connect(fd, toUnix(d.family, b.lo.nobody))
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

// unspecified is the address by which a socket is disconnected (connect(2)).
var unspecified = make([]byte, unix.SizeofSockaddrInet4)

// disconnect is connect(2) with AF_UNSPEC: the socket is as new. The kernel leaves
// a TCP socket bound to lo.
func (b *Broker) disconnect(ino uint64, fd int) syscall.Errno {
	if d, _ := b.streams.dialOf(ino); d != nil {
		d.cancel()
		<-d.done
	}
	b.streams.takeFailure(ino)
	b.streams.forget(ino)
	return rawConnect(fd, unspecified)
}

// dialOf returns what is being done for a socket, nil if that is nothing.
func (s *streams) dialOf(ino uint64) (d *dial, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d = s.dials[ino]
	return d, d != nil && d.ends
}

// forget forgets what a socket was called, when it is a new one or as good as new or,
// if its far end is given, that connection is over.
func (s *streams) forget(ino uint64, far ...netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(far) == 0 || s.names[ino].remote == far[0] {
		delete(s.names, ino)
	}
	if len(far) == 0 {
		delete(s.called, ino)
	}
}

// errnoOf returns what a system call would have said in the place of err.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	var t interface{ Timeout() bool }
	switch {
	case err == nil:
		return ok
	case errors.Is(err, context.DeadlineExceeded):
		return unix.ETIMEDOUT
	case errors.As(err, &errno):
		return errno
	case errors.As(err, &t) && t.Timeout():
		return unix.ETIMEDOUT
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return unix.ENETDOWN
	}
	return unix.ENETUNREACH
}

// addrPortOf returns the address of a connection's end, the zero one if it is not
// of IP.
func addrPortOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	case *net.UDPAddr:
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
