package broker

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bind is bind(2): to a wildcard or loopback address, or one of the program's own in
// the tunnel. Ports below 1024 are as good as others.
func (d *Datagram) Bind(sa []byte) syscall.Errno {
	at, errno := d.bindAddress(sa)
	if errno != ok {
		return errno
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ended:
		return unix.EBADF
	case !at.Addr().IsUnspecified() && !d.b.isOwn(at.Addr()):
		return unix.EADDRNOTAVAIL
	case d.asked.IsValid(), d.hold != nil, d.peer.IsValid():
		return unix.EINVAL
	case d.b.isStub(at) && d.b.cfg.Answer != nil:
		return unix.EADDRINUSE
	}
	d.asked = at
	if at.Port() == 0 {
		return ok // chosen when somebody asks which, see occupy
	}
	if errno := d.occupy(); errno != ok {
		d.asked = netip.AddrPort{}
		return errno
	}
	return ok
}

func (d *Datagram) bindAddress(sa []byte) (netip.AddrPort, syscall.Errno) {
	if d.family == unix.AF_INET && len(sa) >= unix.SizeofSockaddrInet4 && Family(sa) == unix.AF_UNSPEC {
		// ip(7) does not say so, but AF_UNSPEC is taken for AF_INET with INADDR_ANY.
		if [4]byte(sa[4:8]) != [4]byte{} {
			return netip.AddrPort{}, unix.EAFNOSUPPORT
		}
		return netip.AddrPortFrom(netip.IPv4Unspecified(), binary.BigEndian.Uint16(sa[2:])), ok
	}
	at, errno := parseSockaddr(d.family, sa)
	if errno == ok && d.family == unix.AF_INET6 && at.Addr().Is4() && d.v6only() {
		return netip.AddrPort{}, unix.EINVAL
	}
	return at, errno
}

// Connect is connect(2): datagrams of another source do not come in from now on, and
// those without an address go to this one. AF_UNSPEC undoes it. Nothing is sent.
func (d *Datagram) Connect(sa []byte) syscall.Errno {
	d.drainNow() // what was sent before this goes to whom it was sent to
	if len(sa) < 2 {
		return unix.EINVAL
	}
	if Family(sa) == unix.AF_UNSPEC {
		d.disconnect()
		return ok
	}
	to, errno := d.connectAddress(sa)
	if errno != ok {
		return errno
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return unix.EBADF
	}
	source, errno := d.attach(to)
	if errno != ok {
		return errno
	}
	d.peer, d.source = to, source
	d.in.connect(to, source)
	return ok
}

func (d *Datagram) connectAddress(sa []byte) (netip.AddrPort, syscall.Errno) {
	family := d.family
	if family == unix.AF_INET6 && Family(sa) == unix.AF_INET { // an IPv6 socket takes both
		if d.v6only() {
			return netip.AddrPort{}, unix.EAFNOSUPPORT
		}
		family = unix.AF_INET
	}
	to, errno := parseSockaddr(family, sa)
	if errno != ok {
		return netip.AddrPort{}, errno
	}
	return d.reachable(to)
}

// reachable returns where datagrams to an address go, or why they do not.
func (d *Datagram) reachable(to netip.AddrPort) (netip.AddrPort, syscall.Errno) {
	switch addr := to.Addr(); {
	case addr.Is4() && d.family == unix.AF_INET6 && d.v6only():
		return netip.AddrPort{}, unix.ENETUNREACH
	case addr.IsUnspecified(): // an old way of BSD's to say "this host"
		return netip.AddrPortFrom(loopbackOf(addr), to.Port()), ok
	case addr.IsMulticast(): // no group can be joined, and none is behind a tunnel
		return netip.AddrPort{}, unix.ENETUNREACH
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.AddrPort{}, unix.EACCES // whatever SO_BROADCAST is
	}
	return to, ok
}

// attach makes the socket ready to reach to, and returns the address from which it
// does. d.mu must be held.
func (d *Datagram) attach(to netip.AddrPort) (netip.Addr, syscall.Errno) {
	local := d.b.sourceFor(to)
	if d.hold != nil && !d.hold.connected {
		return d.sourceOf(d.hold.at.Addr(), local, to)
	}
	var h *hold
	var errno syscall.Errno
	asked := d.asked.Addr()
	switch {
	case !local.IsValid() && asked.IsLoopback():
		return netip.Addr{}, unix.EINVAL // as ip_route_output_key: no way from there
	case !local.IsValid():
		if h, errno = d.dial(to); errno != ok {
			return netip.Addr{}, errno
		}
		local = h.at.Addr()
		if !asked.IsValid() || asked.IsUnspecified() || asked == local {
			d.keep(h)
			return local, ok
		}
		h.close(d)
		h, errno = d.newHold(d.asked)
	case d.asked.IsValid():
		h, errno = d.newHold(d.asked)
	default:
		h, errno = d.newHold(netip.AddrPortFrom(local, 0))
	}
	if errno != ok {
		return netip.Addr{}, errno
	}
	h.connected = true
	d.keep(h)
	return d.sourceOf(h.at.Addr(), local, to)
}

// sourceOf returns the address from which a socket that is bound to the address bound
// reaches to, by the tunnel if local is not valid.
func (d *Datagram) sourceOf(bound, local netip.Addr, to netip.AddrPort) (netip.Addr, syscall.Errno) {
	if !bound.IsUnspecified() {
		if !local.IsValid() && bound.IsLoopback() {
			return netip.Addr{}, unix.EINVAL
		}
		if bound.Is4() != to.Addr().Is4() {
			return netip.Addr{}, unix.ENETUNREACH
		}
		return bound, ok
	}
	if bound.Is4() && !to.Addr().Is4() {
		return netip.Addr{}, unix.ENETUNREACH
	}
	if local.IsValid() {
		return local, ok
	}
	from, errno := d.b.route(to)
	return from.Addr(), errno
}

// disconnect makes the socket as it was before connect. A port that the kernel has
// chosen is given back, also for a socket that was not connected.
func (d *Datagram) disconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peer, d.source = netip.AddrPort{}, netip.Addr{}
	d.in.connect(netip.AddrPort{}, netip.Addr{})
	if d.asked.Port() == 0 {
		d.release()
	}
}

// LocalName is getsockname(2).
func (d *Datagram) LocalName() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked.IsValid() && !d.ended {
		d.occupy()
	}
	switch {
	case d.hold == nil && d.asked.IsValid():
		return sockaddr(d.family, d.asked)
	case d.hold == nil:
		return sockaddr(d.family, d.wildcard())
	case d.hold.at.Addr().IsUnspecified() && d.peer.IsValid():
		return sockaddr(d.family, netip.AddrPortFrom(d.source, d.hold.at.Port()))
	}
	return sockaddr(d.family, d.hold.at)
}

// PeerName is getpeername(2).
func (d *Datagram) PeerName() ([]byte, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.peer.Port() == 0 {
		return nil, unix.ENOTCONN
	}
	return sockaddr(d.family, d.peer), ok
}
