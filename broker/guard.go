package broker

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the program has listened, sockets of the broker's stay bound: should the
// program's own be closed, no service of the host's that listens at every address can
// take the port, and be taken for the program's. They do not listen: who connects is
// refused. When there are many, those go whose listeners are gone, and with them goes
// what is known of the address: it is nobody's then.

// A guard is two sockets at a port where the program has listened.
type guard struct {
	here  int // at the same address: that stays the program's
	aside int // at one of ours beside it, with no thought of sharing: no wildcard is let in
}

// asideOf returns where guard.aside is for an address of the program's on lo.
func asideOf(native netip.AddrPort) netip.AddrPort {
	a := native.Addr().As4()
	a[3] += 10
	return netip.AddrPortFrom(netip.AddrFrom4(a), native.Port())
}

// newGuard opens the sockets of a guard, unbound.
func newGuard() (g guard, err error) {
	if g.here, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return g, err
	}
	if g.aside, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		unix.Close(g.here)
	}
	return g, err
}

func (g guard) close() {
	unix.Close(g.here)
	unix.Close(g.aside)
}

// manyGuards is how many guards are reason to look which are needed.
const manyGuards = 256

// guard puts one beside a socket of the program's, which is bound to native.
func (s *streams) guard(fd int, native netip.AddrPort) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.guards[native]; there {
		return ok
	}
	if len(s.guards) >= max(manyGuards, s.guardsLeft*2) {
		s.dropGuards()
	}
	g, err := newGuard()
	if err == unix.EMFILE || err == unix.ENFILE {
		s.dropGuards()
		g, err = newGuard()
	}
	if err != nil {
		return errnoOf(err)
	}
	// First: a service of the same user's on the host would share its port with the
	// program, if that says so too (SO_REUSEPORT), and answer for it when it is gone.
	if err := unix.Bind(g.aside, toUnix(unix.AF_INET, asideOf(native))); err != nil {
		g.close()
		return errnoOf(err)
	}
	unix.SetsockoptInt(g.here, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	// Others that have it with fd, as SO_REUSEADDR lets them, are not in the way. Later
	// the guard is in everybody's.
	reuse, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	unix.SetsockoptInt(g.here, unix.SOL_SOCKET, unix.SO_REUSEADDR, reuse)
	beside(fd, func() { err = unix.Bind(g.here, toUnix(unix.AF_INET, native)) })
	unix.SetsockoptInt(g.here, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	if err != nil {
		g.close()
		return errnoOf(err)
	}
	s.guards[native] = g
	return ok
}

// dropGuards closes those of addresses at which nobody listens. An address that the
// program is bound to, and may listen at again, stays its own. s.mu must be held.
func (s *streams) dropGuards() {
	listening, whole := listeners()
	if !whole {
		return // not for want of descriptors: all would be gone
	}
	for native, g := range s.guards {
		if listening[native] {
			continue
		}
		g.close()
		delete(s.guards, native)
		if key, known := s.native[native]; known && isFree(native) {
			delete(s.binds, key)
			delete(s.native, native)
		}
	}
	s.guardsLeft = len(s.guards)
}

// isFree reports whether nobody is bound to an address on lo.
func isFree(native netip.AddrPort) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, toUnix(unix.AF_INET, native)) == nil
}

func (s *streams) isGuarded(native netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.guards[native]
	return there
}

// beside does f while fd may share its port with sockets of ours (SO_REUSEPORT: of the
// same user, and if all of them say so).
func beside(fd int, f func()) {
	if !shares(fd) {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		defer unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0)
	}
	f()
}

// apart does f while fd does not share its port with anybody.
func apart(fd int, f func()) {
	if shares(fd) {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0)
		defer unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	f()
}

// shares reports whether a socket may share its port with others of the same user.
func shares(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	return err == nil && n != 0
}

func (s *streams) closeGuards() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.guards {
		g.close()
	}
	clear(s.guards)
}
