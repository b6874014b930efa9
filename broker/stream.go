package broker

import (
	"context"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// streams is what is known of the program's TCP sockets beyond what the kernel
// knows. Nothing tells when the program closes one: what stays behind is bounded,
// and an inode that is used again begins anew.
type streams struct {
	running   sync.WaitGroup // dials and relays
	accepting sync.Map       // inodes of listeners that a connection is being taken from

	mu      sync.Mutex // guards what follows
	dials   map[uint64]*dial
	watched bool             // somebody looks at which of dials' sockets are closed
	names   map[uint64]names // of connected sockets whose names are not the kernel's
	called  map[uint64]names // of bound ones, and of those connected to one of the program's
	failed  map[uint64]failure
	binds   map[bindKey]bound
	native  map[netip.AddrPort]bindKey // of binds, by where the kernel has it

	others     map[uint64]bool            // sockets that are known to be none of TCP
	guards     map[netip.AddrPort]guard   // by where they are bound
	guardsLeft int                        // of them after the last look which are needed
	v6only     map[uint64]bool            // connected sockets that are not to speak IPv4, and do
	exposed    map[bindKey]bool           // ports, without an address, that are reached from the tunnel, if somebody listens
	visitors   map[netip.AddrPort]visitor // by where they come from on lo
}

// names are what the two ends of a connection are called in the tunnel.
type names struct {
	family        int // of the socket
	local, remote netip.AddrPort
}

// remembered is how many sockets are remembered in each map.
const remembered = 4096

func (s *streams) init() {
	s.dials = make(map[uint64]*dial)
	s.names = make(map[uint64]names)
	s.failed = make(map[uint64]failure)
	s.binds = make(map[bindKey]bound)
	s.native = make(map[netip.AddrPort]bindKey)
	s.others = make(map[uint64]bool)
	s.called = make(map[uint64]names)
	s.guards = make(map[netip.AddrPort]guard)
	s.v6only = make(map[uint64]bool)
	s.exposed = make(map[bindKey]bool)
	s.visitors = make(map[netip.AddrPort]visitor)
}

func (s *streams) wait() { s.running.Wait() }

// remember puts a value into one of the maps of streams, and something else out of
// it when it is full.
func remember[K comparable, V any](m map[K]V, k K, v V) {
	if len(m) >= remembered {
		for old := range m {
			delete(m, old)
			break
		}
	}
	m[k] = v
}

// NewStream makes a TCP socket for the program: bound to lo for good.
func (b *Broker) NewStream(family int, nonblock bool) (int, syscall.Errno) {
	flags := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if nonblock {
		flags |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(family, flags, unix.IPPROTO_TCP)
	if err != nil {
		return -1, errnoOf(err)
	}
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo"); err != nil {
		unix.Close(fd)
		return -1, unix.EACCES
	}
	b.streams.anew(fd)
	return fd, ok
}

// IsStream reports whether fd is a TCP socket that is bound to lo: one of ours, or
// a connection that one of ours has accepted.
func (b *Broker) IsStream(fd int) bool {
	_, is := streamFamily(fd)
	return is
}

// streamFamily returns the family of a TCP socket that is bound to lo.
func streamFamily(fd int) (family int, is bool) {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || family != unix.AF_INET && family != unix.AF_INET6 {
		return 0, false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return 0, false
	}
	index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	return family, err == nil && index == loIndex
}

// loIndex is lo's number, in every network namespace (net/core/dev.c, which makes
// lo first).
const loIndex = 1

// Listen lets a socket be connected to: one of TCP at the address that Bind has given
// it, and one of another family as it is.
func (b *Broker) Listen(ino uint64, fd int, backlog int) syscall.Errno {
	family, is := streamFamily(fd)
	if !is {
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
			return unix.EACCES
		}
		return errnoOf(unix.Listen(fd, backlog))
	}
	key, e, known := b.streams.boundAt(fd)
	if !known {
		if errno := b.bindAnywhere(family, fd); errno != 0 {
			return errno
		}
		if key, e, known = b.streams.boundAt(fd); !known {
			return unix.EADDRINUSE
		}
	}
	if b.streams.isGuarded(e.native) && !shares(fd) && !isListening(fd) && listens(e.native) {
		return unix.EADDRINUSE // the guard shares the port, and the kernel asks no more
	}
	if errno := b.streams.guard(fd, e.native); errno != 0 {
		return errno
	}
	var err error
	beside(fd, func() { err = unix.Listen(fd, backlog) }) // which looks at the port once more
	if err != nil {
		return errnoOf(err)
	}
	b.streams.guard(fd, e.native) // if it went meanwhile: nobody listened
	b.expose(key, e)
	return ok
}

// bindAnywhere gives an address to a socket that is to listen and has none of ours:
// it has not been bound, or has been connected, or the program has got past us with
// bind(2). What the kernel bound it to by itself it gives up.
func (b *Broker) bindAnywhere(family, fd int) syscall.Errno {
	if local, err := nativeLocal(fd); err == nil && local.Port() != 0 {
		if state, err := tcpState(fd); err != nil || state != tcpClose {
			return unix.EINVAL
		}
		rawConnect(fd, unspecified)
	}
	any := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		any = netip.IPv6Unspecified()
	}
	return b.streams.bind(b.lo, family, fd, netip.AddrPortFrom(any, 0))
}

// Accept takes a connection from a listener, with the address of its other end.
// It is to be called where the kernel would say another address than what the
// program knows: Renames. If wanted is not nil, it is asked at the last moment
// whether a connection is still waited for.
func (b *Broker) Accept(ctx context.Context, fd, flags int, wanted func() bool) (int, []byte, syscall.Errno) {
	family, is := streamFamily(fd)
	if !is {
		return -1, nil, unix.EACCES
	}
	if !isListening(fd) {
		return -1, nil, unix.EINVAL
	}
	block, take := !isNonblocking(fd), accept4
	if block {
		take = b.streams.takeOne
	}
	by := timeout(fd, unix.SO_RCVTIMEO)
	for {
		if block {
			if errno := waitFor(ctx, fd, unix.POLLIN, by); errno != 0 {
				return -1, nil, errno
			}
		}
		if wanted != nil && !wanted() {
			return -1, nil, unix.EINTR
		}
		conn, err := take(fd, flags)
		if block && err == unix.EAGAIN {
			continue // somebody else was faster
		}
		if err != nil {
			return -1, nil, errnoOf(err)
		}
		peer, err := nativePeer(conn)
		if err != nil {
			peer = netip.AddrPort{}
		}
		return conn, sockaddr(family, b.known(family, peer)), ok
	}
}

// takeOne is accept4(2) that does not wait, also of a listener that blocks: of those
// that accept from it here one does at a time, and only what is there. Who accepts past
// us, without an address, may be faster in between: then this one waits for the next
// connection, and nothing ends it. Other listeners do not wait with it.
func (s *streams) takeOne(fd, flags int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if _, busy := s.accepting.LoadOrStore(st.Ino, true); busy {
		return -1, unix.EAGAIN
	}
	defer s.accepting.Delete(st.Ino)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == nil && n > 0 {
			break
		}
		if err != unix.EINTR {
			return -1, unix.EAGAIN
		}
	}
	return accept4(fd, flags)
}

func accept4(fd, flags int) (int, error) {
	conn, _, err := unix.Accept4(fd, flags&unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return conn, err
}

// Renames reports whether connections that come to a listener have other addresses
// than the kernel says: those to IPv6 sockets, and those from the tunnel.
func (b *Broker) Renames(fd int) bool {
	family, is := streamFamily(fd)
	if !is || family == unix.AF_INET6 {
		return is
	}
	key, _, known := b.streams.boundAt(fd)
	return known && b.isExposed(key.port, key.addr)
}

// known returns the address by which the program knows an address on lo.
func (b *Broker) known(family int, native netip.AddrPort) netip.AddrPort {
	if !b.lo.holds(native.Addr()) {
		return native
	}
	if v, is := b.streams.visitorFrom(native); is {
		return v.remote
	}
	if native.Addr() == b.lo.at(6) {
		return netip.AddrPortFrom(netip.IPv6Loopback(), native.Port())
	}
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	key, known := b.streams.native[native]
	if !known {
		return netip.AddrPortFrom(home4, native.Port())
	}
	addr := key.addr
	if addr.IsUnspecified() {
		addr = home4
		if family == unix.AF_INET6 {
			addr = netip.IPv6Loopback()
		}
	}
	return netip.AddrPortFrom(addr, key.port)
}
