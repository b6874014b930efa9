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
	running sync.WaitGroup // dials and relays

	mu     sync.Mutex // guards what follows
	dials  map[uint64]*dial
	names  map[uint64]names // of connected sockets whose names are not the kernel's
	called map[uint64]names // of bound ones, and of those connected to one of the program's
	failed map[uint64]syscall.Errno
	binds  map[bindKey]bound
	native map[netip.AddrPort]bindKey // of binds, by where the kernel has it

	others   map[uint64]bool            // sockets that are known to be none of TCP
	guards   map[netip.AddrPort]int     // descriptors, by where they are bound
	exposed  map[bindKey]bool           // ports that are reached from the tunnel, if somebody listens
	visitors map[netip.AddrPort]visitor // by where they come from on lo
}

// names are what the two ends of a connection are called in the tunnel.
type names struct {
	family        int // of the socket
	local, remote netip.AddrPort
}

// A bindKey is what the kernel would tell two bound sockets by.
type bindKey struct {
	v6   bool
	port uint16
}

// A bound is an address that a socket of the program is bound to.
type bound struct {
	addr   netip.Addr     // as the program says it
	v6only bool           // of an IPv6 socket
	native netip.AddrPort // where it is in truth
}

// remembered is how many sockets are remembered in each map.
const remembered = 4096

func (s *streams) init() {
	s.dials = make(map[uint64]*dial)
	s.names = make(map[uint64]names)
	s.failed = make(map[uint64]syscall.Errno)
	s.binds = make(map[bindKey]bound)
	s.native = make(map[netip.AddrPort]bindKey)
	s.others = make(map[uint64]bool)
	s.called = make(map[uint64]names)
	s.guards = make(map[netip.AddrPort]int)
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

// Bind gives a socket an address: a wildcard, or one of the program's own.
func (b *Broker) Bind(ino uint64, fd int, sa []byte) syscall.Errno {
	family, is := streamFamily(fd)
	if !is {
		return unix.EACCES
	}
	if family == unix.AF_INET && len(sa) >= unix.SizeofSockaddrInet4 && Family(sa) == unix.AF_UNSPEC {
		sa = append([]byte(nil), sa...)
		copy(sa, sockaddr(unix.AF_INET, netip.AddrPort{})[:2]) // ip(7): bind takes it so
		if [4]byte(sa[4:8]) != [4]byte{} {
			return unix.EAFNOSUPPORT
		}
	}
	want, errno := parseSockaddr(family, sa)
	if errno != 0 {
		return errno
	}
	if !want.Addr().IsUnspecified() && !b.isOwn(want.Addr()) {
		return unix.EADDRNOTAVAIL
	}
	if b.isStub(want) && b.cfg.Answer != nil {
		return unix.EADDRINUSE // as on a host whose resolver is there
	}
	if errno := b.streams.bind(b.lo, family, fd, want); errno != 0 {
		return errno
	}
	// For who asks when there is no descriptor of it here any more.
	if native, err := nativeLocal(fd); err == nil {
		name := b.boundName(native)
		b.streams.mu.Lock()
		remember(b.streams.called, ino, names{family: family, local: name})
		b.streams.mu.Unlock()
	}
	return ok
}

// bind binds fd to the broker's part of lo, where the kernel sees to it that a
// port has one owner.
func (s *streams) bind(lo *loopback, family, fd int, want netip.AddrPort) syscall.Errno {
	v6 := family == unix.AF_INET6
	at := lo.at(2)
	if v6 {
		at = lo.at(3)
	}
	entry := bound{addr: want.Addr(), v6only: v6 && speakIPv4(fd)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conflicts(bindKey{v6, want.Port()}, entry) {
		return unix.EADDRINUSE
	}
	old, known := s.binds[bindKey{v6, want.Port()}]
	var err error
	switch {
	case known && want.Port() != 0:
		err = s.bindAgain(family, fd, old.native)
	case want.Port() >= 1024:
		err = unix.Bind(fd, toUnix(family, netip.AddrPortFrom(at, want.Port())))
		if err == unix.EADDRINUSE {
			err = unix.Bind(fd, toUnix(family, netip.AddrPortFrom(at, 0)))
		}
	default:
		err = unix.Bind(fd, toUnix(family, netip.AddrPortFrom(at, 0)))
	}
	if err != nil {
		return errnoOf(err)
	}
	if entry.native, err = nativeLocal(fd); err != nil {
		return errnoOf(err)
	}
	port := want.Port()
	if port == 0 {
		port = entry.native.Port()
	}
	if len(s.binds) >= remembered {
		s.forgetOneBind()
	}
	s.binds[bindKey{v6, port}] = entry
	s.native[entry.native] = bindKey{v6, port}
	return ok
}

// bindAgain binds fd to an address that was the program's before. s.mu must be held.
func (s *streams) bindAgain(family, fd int, native netip.AddrPort) (err error) {
	if _, guarded := s.guards[native]; !guarded {
		return unix.Bind(fd, toUnix(family, native))
	}
	if !shares(fd) && listens(native) {
		return unix.EADDRINUSE // of those that share a port the kernel asks no more
	}
	beside(fd, func() { err = unix.Bind(fd, toUnix(family, native)) })
	return err
}

// forgetOneBind forgets an address at which nobody has listened. s.mu must be held.
func (s *streams) forgetOneBind() {
	for key, e := range s.binds {
		if _, guarded := s.guards[e.native]; !guarded {
			delete(s.binds, key)
			delete(s.native, e.native)
			return
		}
	}
}

// conflicts reports whether the other family has the port already, which the kernel
// cannot tell here: an IPv6 wildcard is one of both families. A socket that has it no
// more is forgotten. s.mu must be held.
func (s *streams) conflicts(key bindKey, e bound) bool {
	otherKey := bindKey{!key.v6, key.port}
	other, known := s.binds[otherKey]
	six := e
	if !key.v6 {
		six = other
	}
	if !known || six.v6only || !six.addr.IsUnspecified() {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	share(fd) // with the guard
	if unix.Bind(fd, toUnix(unix.AF_INET, other.native)) != nil {
		return true
	}
	delete(s.binds, otherKey)
	delete(s.native, other.native)
	return false
}

// speakIPv4 lets an IPv6 socket that is not bound yet speak IPv4, which it does
// here with everybody, and reports whether it was not to.
func speakIPv4(fd int) (v6only bool) {
	n, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	if err != nil || n == 0 {
		return false
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0) == nil
}

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
	if errno := b.streams.guard(fd, e.native); errno != 0 {
		return errno
	}
	var err error
	beside(fd, func() { err = unix.Listen(fd, backlog) }) // which looks at the port once more
	if err != nil {
		return errnoOf(err)
	}
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

// boundAt returns what a socket is bound to.
func (s *streams) boundAt(fd int) (key bindKey, e bound, known bool) {
	native, err := nativeLocal(fd)
	if err != nil {
		return key, e, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, known = s.native[native]
	return key, s.binds[key], known
}

// listener returns where the program's listener at far, an address of its own, is
// in truth, if there is one.
func (s *streams) listener(far netip.AddrPort) (netip.AddrPort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v6 := range []bool{far.Addr().Is6(), true} {
		e, known := s.binds[bindKey{v6, far.Port()}]
		if !known || v6 && far.Addr().Is4() && e.v6only {
			continue
		}
		if e.addr == far.Addr() || e.addr.IsUnspecified() && (e.addr.Is6() || far.Addr().Is4()) {
			return e.native, true
		}
	}
	return netip.AddrPort{}, false
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
	block := !isNonblocking(fd)
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
		conn, _, err := unix.Accept4(fd, flags&unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
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

// Renames reports whether connections that come to a listener have other addresses
// than the kernel says: those to IPv6 sockets, and those from the tunnel.
func (b *Broker) Renames(fd int) bool {
	family, is := streamFamily(fd)
	if !is || family == unix.AF_INET6 {
		return is
	}
	key, e, known := b.streams.boundAt(fd)
	return known && b.isExposed(key.port, e.addr)
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
	addr := b.streams.binds[key].addr
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = home4
		if family == unix.AF_INET6 {
			addr = netip.IPv6Loopback()
		}
	}
	return netip.AddrPortFrom(addr, key.port)
}
