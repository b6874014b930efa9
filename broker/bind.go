package broker

import (
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A bindKey is what the kernel would tell two bound sockets by: the address is as the
// program says it, of an IPv6 socket also an IPv4 one.
type bindKey struct {
	v6   bool
	addr netip.Addr
	port uint16
}

// A bound is where a socket of the program is bound in truth.
type bound struct {
	v6only bool // of an IPv6 socket
	native netip.AddrPort
}

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
	if lacksScope(sa) || family == unix.AF_INET6 && want.Addr().Is4() && isV6Only(fd) {
		return unix.EINVAL // __inet6_bind
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
	key := bindKey{family == unix.AF_INET6, want.Addr(), want.Port()}
	at := lo.at(2)
	if key.v6 {
		at = lo.at(3)
	}
	var entry bound
	if key.v6 {
		entry.v6only = speakIPv4(fd)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key.port != 0 && s.conflicts(fd, key, entry) {
		return unix.EADDRINUSE
	}
	old, known := s.binds[key]
	usual := netip.AddrPortFrom(at, key.port)
	var err error
	switch {
	case known && key.port != 0:
		err = s.bindAgain(family, fd, old.native)
	case key.port >= 1024 && s.native[usual].port == 0:
		apart(fd, func() { err = unix.Bind(fd, toUnix(family, usual)) }) // from services of the host's
		if err != unix.EADDRINUSE {
			break
		}
		fallthrough
	default:
		err = unix.Bind(fd, toUnix(family, netip.AddrPortFrom(at, 0)))
	}
	if err != nil {
		return errnoOf(err)
	}
	if entry.native, err = nativeLocal(fd); err != nil {
		return errnoOf(err)
	}
	if key.port == 0 {
		key.port = entry.native.Port()
	}
	s.note(key, entry)
	return ok
}

// note remembers an address. s.mu must be held.
func (s *streams) note(key bindKey, e bound) {
	if len(s.binds) >= remembered {
		s.forgetOneBind()
	}
	if before, known := s.native[e.native]; known && before != key {
		delete(s.binds, before) // whose socket is gone, or the kernel would not have given it away
	}
	s.binds[key] = e
	s.native[e.native] = key
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

// conflicts reports whether a socket has the port already at an address that overlaps,
// which the kernel cannot tell here: it is asked about each. s.mu must be held.
func (s *streams) conflicts(fd int, key bindKey, e bound) bool {
	listening := sync.OnceValue(func() map[netip.AddrPort]bool { // which takes milliseconds
		all, _ := listeners()
		return all
	})
	for otherKey, other := range s.binds {
		if otherKey.port == key.port && otherKey != key && overlap(key, e, otherKey, other) && inTheWay(fd, other.native, listening) {
			return true
		}
	}
	return false
}

// overlap reports whether there are addresses that two sockets are both bound to: a
// wildcard is all of them, that of IPv6 also those of IPv4.
func overlap(a bindKey, ae bound, b bindKey, be bound) bool {
	meet := func(x, y netip.Addr) bool {
		return x.IsValid() && y.IsValid() && (x == y || x.IsUnspecified() || y.IsUnspecified())
	}
	a4, a6 := a.covers(ae)
	b4, b6 := b.covers(be)
	return meet(a4, b4) || meet(a6, b6)
}

// covers returns the addresses of both families that a socket is bound to, the zero
// Addr for none.
func (k bindKey) covers(e bound) (four, six netip.Addr) {
	switch {
	case k.addr.Is4():
		return k.addr, netip.Addr{}
	case k.addr.IsUnspecified() && !e.v6only:
		return netip.IPv4Unspecified(), k.addr
	}
	return netip.Addr{}, k.addr
}

// inTheWay reports whether a socket that is bound to native keeps fd from the same
// port: another is bound there as fd would be.
func inTheWay(fd int, native netip.AddrPort, listening func() map[netip.AddrPort]bool) bool {
	if !shares(fd) && listening()[native] {
		return true
	}
	other, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(other)
	reuse, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	unix.SetsockoptInt(other, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse)
	unix.SetsockoptInt(other, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // with the guard
	return unix.Bind(other, toUnix(unix.AF_INET, native)) != nil
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
// in truth, if there is one: at this very address, or else at a wildcard. A socket that
// is itself there, at own, connects to itself.
func (b *Broker) listener(far, own netip.AddrPort) (netip.AddrPort, bool) {
	if b.cfg.EndListeners != nil {
		b.cfg.EndListeners()
	}
	return b.streams.listener(far, own)
}

// listener is the broker's, where every listener is one that somebody has.
func (s *streams) listener(far, own netip.AddrPort) (netip.AddrPort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	keys := []bindKey{{true, far.Addr(), far.Port()}, {true, any6, far.Port()}}
	if far.Addr().Is4() {
		keys = []bindKey{{false, far.Addr(), far.Port()}, {false, any4, far.Port()},
			{true, far.Addr(), far.Port()}, {true, any4, far.Port()}, {true, any6, far.Port()}}
	}
	var found []netip.AddrPort
	for _, key := range keys {
		e, known := s.binds[key]
		if _, guarded := s.guards[e.native]; !guarded && e.native != own {
			continue // nobody has listened, and the port may be another's by now
		}
		if known && !(e.v6only && far.Addr().Is4()) {
			found = append(found, e.native)
		}
	}
	if len(found) == 0 {
		return netip.AddrPort{}, false
	}
	for _, native := range found[:len(found)-1] {
		if listens(native) {
			return native, true
		}
	}
	return found[len(found)-1], true
}
