package broker

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bind is bind(2) of the socket that fd is a descriptor of: to a wildcard or loopback
// address, or one of the program's own in the tunnel. Ports below 1024 are as good as
// others.
func (d *Datagram) Bind(fd int, sa []byte) syscall.Errno {
	at, errno := d.bindAddress(sa)
	if errno != ok {
		return errno
	}
	shares := d.sharing(fd)
	errno = d.bindTo(at, shares)
	if errno == unix.EADDRINUSE {
		d.b.endClosed(at.Port())
		errno = d.bindTo(at, shares)
	}
	return errno
}

func (d *Datagram) bindTo(at netip.AddrPort, shares sharing) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ended:
		return unix.EBADF
	case !at.Addr().IsUnspecified() && !d.b.isOwn(at.Addr()):
		return unix.EADDRNOTAVAIL
	case d.bound, d.peer.IsValid():
		return unix.EINVAL
	case d.b.isStub(at) && d.b.cfg.Answer != nil:
		return unix.EADDRINUSE
	}
	before := d.asked
	d.bound, d.asked, d.shares = true, at, shares
	if at.Port() != 0 { // else it is chosen when somebody asks which, see occupy
		if errno := d.occupy(); errno != ok {
			d.bound, d.asked = false, before
			return errno
		}
	}
	if at.Addr().Is6() && !at.Addr().IsUnspecified() {
		d.opts.set(option{unix.SOL_IPV6, unix.IPV6_V6ONLY}, 1) // __inet6_bind
	}
	return ok
}

// autobind gives the socket a port, as calls do that need one, before they look at
// anything else. d.mu must be held.
func (d *Datagram) autobind() {
	if !d.bound && !d.asked.IsValid() {
		d.asked = d.wildcard()
	}
	d.bound = true
}

// address returns what the socket is bound to, by bind or by connect, unspecified if
// that is every address. d.mu must be held.
func (d *Datagram) address() netip.Addr {
	if d.source.IsValid() && d.asked.Addr().IsUnspecified() {
		return d.source
	}
	return d.asked.Addr()
}

// addressFor is address for what is sent to an address: IPv4 knows nothing of the IPv6
// address that connect has chosen, but IPv6 of IPv4's.
func (d *Datagram) addressFor(to netip.Addr) netip.Addr {
	if d.source.Is6() && to.Is4() {
		return d.asked.Addr()
	}
	return d.address()
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
	if errno == ok && d.family == unix.AF_INET6 && (lacksScope(sa) || at.Addr().Is4() && d.v6only()) {
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return unix.EBADF
	}
	d.autobind()
	to, errno := d.connectAddress(sa)
	if errno != ok {
		return errno
	}
	source, errno := d.attach(to)
	if errno != ok {
		return errno
	}
	d.peer = to
	if !d.source.IsValid() {
		d.source = source
	}
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
	switch {
	case errno != ok:
		return netip.AddrPort{}, errno
	case lacksScope(sa):
		return netip.AddrPort{}, unix.EINVAL // __ip6_datagram_connect; sendto just finds no way
	}
	return d.reachable(to)
}

// reachable returns where datagrams to an address go, or why they do not. d.mu must be
// held.
func (d *Datagram) reachable(to netip.AddrPort) (netip.AddrPort, syscall.Errno) {
	if to.Addr().IsUnspecified() { // an old way of BSD's to say "this host"
		like := to.Addr()
		if d.address().Is4() {
			like = d.address()
		}
		to = netip.AddrPortFrom(loopbackOf(like), to.Port())
	}
	switch addr := to.Addr(); {
	case addr.Is4() && d.family == unix.AF_INET6 && d.v6only():
		return netip.AddrPort{}, unix.ENETUNREACH
	case addr.IsMulticast(): // no group can be joined, and none is behind a tunnel
		return netip.AddrPort{}, unix.ENETUNREACH
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		if _, errno := d.b.route(to); errno != ok {
			return netip.AddrPort{}, errno
		}
		return netip.AddrPort{}, unix.EACCES // whatever SO_BROADCAST is
	}
	return to, ok
}

// attach makes the socket ready to reach to, and returns the address from which it
// does. d.mu must be held.
func (d *Datagram) attach(to netip.AddrPort) (netip.Addr, syscall.Errno) {
	local, bound := d.b.sourceFor(to), d.addressFor(to.Addr())
	if errno := canLeave(bound, local, to.Addr()); errno != ok {
		return netip.Addr{}, errno
	}
	if d.hold != nil && !d.hold.connected {
		if !bound.IsUnspecified() {
			return bound, ok
		}
		if local.IsValid() {
			return local, ok
		}
		from, errno := d.b.route(to)
		return from.Addr(), errno
	}
	var h *hold
	var errno syscall.Errno
	if !local.IsValid() {
		if h, errno = d.dial(to); errno != ok {
			return netip.Addr{}, errno
		}
		if local = h.at.Addr(); bound.IsUnspecified() || bound == local {
			d.keep(h)
			return local, ok
		}
		h.close(d)
	}
	if bound.IsUnspecified() {
		bound = local
	}
	if h, errno = d.newHold(netip.AddrPortFrom(bound, 0)); errno != ok {
		return netip.Addr{}, errno
	}
	h.connected = true
	d.keep(h)
	return bound, ok
}

// canLeave returns ok if datagrams to an address can leave from a socket with the address
// bound, else what the kernel says. local is valid if they need no tunnel.
func canLeave(bound, local, to netip.Addr) syscall.Errno {
	switch {
	case bound == netip.IPv6Unspecified():
		return ok
	case bound.Is4() && to.Is6():
		return unix.EAFNOSUPPORT // ip6_dst_lookup
	case bound.Is6() && to.Is4():
		return unix.ENETUNREACH
	case bound.IsLoopback() && !local.IsValid():
		return unix.EINVAL // ip_route_output_key: no way from there
	}
	return ok
}

// disconnect makes the socket as it was before connect. A port that the kernel has
// chosen is given back, also for a socket that was not connected.
func (d *Datagram) disconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peer, d.source = netip.AddrPort{}, netip.Addr{}
	d.in.connect(netip.AddrPort{}, netip.Addr{})
	if d.asked.Port() != 0 {
		return
	}
	d.release()
	d.bound = false
	if d.asked == d.wildcard() {
		d.asked = netip.AddrPort{}
	}
}

// LocalName is getsockname(2).
func (d *Datagram) LocalName() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bound && !d.ended {
		d.occupy()
	}
	addr := d.address()
	if !addr.IsValid() {
		addr = d.wildcard().Addr()
	}
	if d.hold == nil {
		return sockaddr(d.family, netip.AddrPortFrom(addr, d.asked.Port()))
	}
	return sockaddr(d.family, netip.AddrPortFrom(addr, d.hold.at.Port()))
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
