package broker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone is the cause of a context whose caller has ended, and not only given up.
var ErrGone = errors.New("the caller has ended")

// A Result is what a connect has come to.
type Result struct {
	Errno syscall.Errno

	// Relay, if it is not nil, is to be called once the program has been told: it
	// carries the connection, and returns at its end.
	Relay func()

	// Untold, if it is not nil, is to be called, while the descriptor of the call is
	// there, if the program could not be told, for a signal has ended its call: as
	// after any connect that a signal has ended, the socket tells then.
	Untold func()
}

// Connect is connect(2) of a TCP socket. A socket that blocks is waited for; if
// ctx ends first, the connection goes on to be made, and the call that follows
// finds it. waits is called before it waits for anything, as late as can be, and perhaps
// again later, on another goroutine; if it does not come to that it is not called. What
// the SYN waits for, room in the socket that carries the tunnel, does not count.
func (b *Broker) Connect(ctx context.Context, ino uint64, fd int, sa []byte, waits func()) Result {
	family, is := streamFamily(fd)
	if !is {
		return Result{Errno: unix.EACCES}
	}
	if len(sa) >= 2 && Family(sa) == unix.AF_UNSPEC {
		waits() // for the end of a dial
		return Result{Errno: b.disconnect(ino, fd)}
	}
	far, errno := b.destination(ino, family, fd, sa)
	if errno != 0 {
		return Result{Errno: errno}
	}
	far = toSomebody(far)
	nonblock := isNonblocking(fd)
	if r, again := b.connectAgain(ctx, ino, family, fd, nonblock, waits); again {
		return r
	}
	b.streams.forget(ino)
	if b.isOwn(far.Addr()) && (!b.isStub(far) || b.cfg.Answer == nil) {
		waits() // perhaps: its queue may be full
		return Result{Errno: b.connectOwn(ino, family, fd, far)}
	}
	var local netip.AddrPort
	if nonblock {
		// That there is no way is told at once. Who waits hears it from the dial.
		if local, errno = b.route(far); errno != 0 {
			return Result{Errno: errno}
		}
	}
	return b.connectFar(ctx, ino, family, fd, far, local, nonblock, waits)
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

// connectAgain is a connect of a socket that is not idle, and reports whether it is
// one: it is being connected, or has been, or failed and nobody was told.
func (b *Broker) connectAgain(ctx context.Context, ino uint64, family, fd int, nonblock bool, waits func()) (r Result, again bool) {
	d, ends := b.streams.dialOf(ino)
	switch {
	case d == nil:
	case ends:
		waits()
		<-d.done
	case nonblock:
		return Result{Errno: unix.EALREADY}, true
	default:
		waits()
		if r = b.await(ctx, d, fd); r.Errno == unix.EINPROGRESS {
			r.Errno = unix.EALREADY
		}
		return r, true
	}
	if f := b.streams.takeFailure(ino); f.errno != 0 {
		idle(fd) // it is told now
		return Result{Errno: f.errno}, true
	}
	if state, err := tcpState(fd); err == nil && state == tcpClose {
		return r, false
	}
	// The kernel knows what to say, and that it is connected already once it is. Where
	// to is no matter to it.
	waits() // it may be pending still
	return Result{Errno: errnoOf(unix.Connect(fd, toUnix(family, b.lo.nobody)))}, true
}

// connectOwn connects to a listener of the program's own. Where there is none the
// kernel refuses, in its own way.
func (b *Broker) connectOwn(ino uint64, family, fd int, far netip.AddrPort) syscall.Errno {
	own, _ := nativeLocal(fd)
	to, known := b.listener(far, own)
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

// A sourcer is a Dialer that knows that without a socket: see [netstack.Stack.Source].
type sourcer interface {
	Source(far netip.Addr) (netip.Addr, error)
}

// route returns the address from which far is reached, or why it is not. Nothing
// is sent.
func (b *Broker) route(far netip.AddrPort) (netip.AddrPort, syscall.Errno) {
	if b.isStub(far) {
		return netip.AddrPortFrom(far.Addr(), 0), ok
	}
	if s, can := b.cfg.Dialer.(sourcer); can {
		local, err := s.Source(far.Addr())
		return netip.AddrPortFrom(local, 0), errnoOf(err)
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

// unspecified is the address by which a socket is disconnected (connect(2)).
var unspecified = make([]byte, unix.SizeofSockaddrInet4)

// disconnect is connect(2) with AF_UNSPEC: the socket is as new. The kernel leaves
// a TCP socket bound to lo.
func (b *Broker) disconnect(ino uint64, fd int) syscall.Errno {
	if d, _ := b.streams.dialOf(ino); d != nil {
		d.cancel(nil)
		<-d.done
	}
	b.streams.takeFailure(ino)
	b.streams.forget(ino)
	return rawConnect(fd, unspecified)
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
