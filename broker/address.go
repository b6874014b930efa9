package broker

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A loopback is the broker's part of lo, 127.x.y.0/24 with x and y at random:
//
//	.1  the broker: a listener, by which a connect that may wait is joined to its
//	    relay, and the hole
//	.2  listeners of the program's IPv4 sockets
//	.3  listeners of its IPv6 sockets, which speak IPv4 here
//	.5  visitors from the tunnel
//	.6  what the program's IPv6 sockets connect from, so that the other end of
//	    a connection knows ::1 from 127.0.0.1
//	.9  nobody
//	.12 .13  guards of what is at .2 and .3
//
// All of it is IPv4: a host may have no ::1.
type loopback struct {
	net    [4]byte // the last byte is to be filled in
	listen int     // descriptor of the listener, non-blocking
	relay  netip.AddrPort
	hole   *hole
	nobody netip.AddrPort // where nobody listens
	bound  int            // the socket that sees to it

	mu    sync.Mutex // guards early, and accept4 on listen
	early map[netip.AddrPort]early
}

// An early connection has been accepted by somebody who waited for another one.
type early struct {
	fd int
	at time.Time
}

// backlog is how many connections may wait to be accepted.
const backlog = 4096

func openLoopback() (*loopback, error) {
	l := &loopback{early: make(map[netip.AddrPort]early)}
	var err error
	// Another run may have the same network: its sockets are other ones, but the
	// addresses would not tell whose a listener is.
	for range 16 {
		var r [2]byte
		rand.Read(r[:])
		l.net = [4]byte{127, 64 + r[0]%128, r[1], 0}
		if l.listen, l.relay, err = listenOn(l.at(1), false); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if l.hole, err = openHole(l.at(1)); err != nil {
		unix.Close(l.listen)
		return nil, err
	}
	if err = l.openNobody(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// at returns an address of the network.
func (l *loopback) at(last byte) netip.Addr {
	a := l.net
	a[3] = last
	return netip.AddrFrom4(a)
}

// openNobody takes an address at which nobody listens, ever: a socket that is bound,
// with no thought of sharing, keeps others from the port, wildcards among them.
func (l *loopback) openNobody() (err error) {
	l.bound, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(l.bound, toUnix(unix.AF_INET, netip.AddrPortFrom(l.at(9), 0)))
	}
	if err == nil {
		l.nobody, err = nativeLocal(l.bound)
	}
	return os.NewSyscallError("bind on lo", err)
}

// holds reports whether addr is of the network.
func (l *loopback) holds(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	a := addr.As4()
	return [3]byte(a[:3]) == [3]byte(l.net[:3])
}

// listenOn listens at addr, port 0, and returns which that became. shared lets
// others bind to the same port.
func listenOn(addr netip.Addr, shared bool) (fd int, at netip.AddrPort, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, at, os.NewSyscallError("socket", err)
	}
	if shared {
		err = share(fd)
	}
	n := backlog
	if shared {
		n = holeBacklog
	}
	err = errors.Join(err,
		unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo"),
		noDelay(fd), // of all that it accepts, too
		unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4()}))
	if err == nil {
		err = unix.Listen(fd, n)
	}
	if err == nil {
		at, err = nativeLocal(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, at, os.NewSyscallError("listen on lo", err)
	}
	return fd, at, nil
}

// noDelay sends what is written at once: whoever has written it has waited already.
func noDelay(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// share lets several sockets be bound to the same port.
func share(fd int) error {
	return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// claimWait is how long a connection that the kernel has made may take to be
// accepted.
const claimWait = time.Second

// claimLook is how long one is waited for, in ms, before it is looked for among those
// that others have accepted.
const claimLook = 5

// claim returns the broker's end of the connection that comes from remote, which
// has been made already. Others that it meets are kept for who wants them, or,
// nobody's, closed after some time.
func (l *loopback) claim(remote netip.AddrPort) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for end := time.Now().Add(claimWait); ; {
		if e, ok := l.early[remote]; ok {
			delete(l.early, remote)
			return e.fd, nil
		}
		fd, sa, err := unix.Accept4(l.listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == unix.EAGAIN && time.Now().Before(end):
			// The kernel is late with it where the program has it so (TCP_QUICKACK,
			// TCP_DEFER_ACCEPT): others are not to wait. One of them may accept it.
			l.mu.Unlock()
			unix.Poll([]unix.PollFd{{Fd: int32(l.listen), Events: unix.POLLIN}}, claimLook)
			l.mu.Lock()
		case err == unix.EAGAIN:
			return -1, unix.ECONNREFUSED
		case err == unix.EINTR || err == unix.ECONNABORTED:
		case err != nil:
			return -1, err
		case fromUnix(sa) == remote:
			return fd, nil
		default:
			l.early[fromUnix(sa)] = early{fd, time.Now()}
			l.dropStrangers()
		}
	}
}

// drain makes room for a connection that is about to be made. Mostly there is nobody, and
// accept4, which makes a socket first, would be the longer way to know.
func (l *loopback) drain() {
	fds := []unix.PollFd{{Fd: int32(l.listen), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n == 0 && err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		fd, sa, err := unix.Accept4(l.listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return
		}
		l.early[fromUnix(sa)] = early{fd, time.Now()}
		l.dropStrangers()
	}
}

// dropStrangers closes connections that nobody has claimed: other users of the
// machine can connect as well. l.mu must be held.
func (l *loopback) dropStrangers() {
	for remote, e := range l.early {
		if time.Since(e.at) > 2*claimWait {
			unix.Close(e.fd)
			delete(l.early, remote)
		}
	}
}

func (l *loopback) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.early {
		unix.Close(e.fd)
	}
	l.hole.Close()
	unix.Close(l.bound)
	return unix.Close(l.listen)
}

// nativeLocal returns the address that the kernel knows a socket by; IPv4-mapped
// ones as IPv4.
func nativeLocal(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	return fromUnix(sa), err
}

// nativePeer returns the address of the other end, as the kernel knows it.
func nativePeer(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getpeername(fd)
	return fromUnix(sa), err
}

func fromUnix(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// toUnix returns a, an IPv4 address, for a socket of family.
func toUnix(family int, a netip.AddrPort) unix.Sockaddr {
	if family == unix.AF_INET6 {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}
