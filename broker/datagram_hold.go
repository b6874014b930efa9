package broker

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A hold is what a socket occupies: a port of the switchboard, a socket in the
// tunnel, or both.
type hold struct {
	at   netip.AddrPort
	seat *seat // nil: reached from the tunnel only

	// One at most is there. conn has been made by connect: it has one far end, and
	// learns that its port is closed.
	socket *tunnelSocket
	conn   net.Conn
	joined bool // socket is another's, who reads it

	// connected says that connect has made it, which makes another one for
	// another peer.
	connected bool
}

// wildcard is what an unbound socket is bound to.
func (d *Datagram) wildcard() netip.AddrPort {
	if d.family == unix.AF_INET {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
}

// v6only reports whether the socket does not speak IPv4.
func (d *Datagram) v6only() bool { return d.opts.isOn(unix.SOL_IPV6, unix.IPV6_V6ONLY) }

// occupy makes the socket's hold of what was asked for: nobody could tell so far what
// port that would be. d.mu must be held.
func (d *Datagram) occupy() syscall.Errno {
	if d.hold != nil {
		return ok
	}
	d.autobind()
	h, errno := d.newHold(d.asked)
	if errno == ok {
		d.keep(h)
	}
	return errno
}

// keep makes h the socket's. d.mu must be held.
func (d *Datagram) keep(h *hold) {
	old := d.hold
	d.hold = h
	old.close(d)
	if h.conn != nil {
		far := addrPortOf(h.conn.RemoteAddr())
		d.b.udp.running.Go(func() { d.readConn(h, far) })
	} else if h.socket != nil && !h.joined {
		d.b.udp.running.Go(func() { d.readSocket(h) })
	}
}

// release gives back what the socket occupies. d.mu must be held.
func (d *Datagram) release() {
	d.hold.close(d)
	d.hold = nil
}

func (h *hold) close(d *Datagram) {
	if h == nil {
		return
	}
	if h.socket != nil {
		h.socket.Close()
	}
	if h.conn != nil {
		h.conn.Close()
	}
	d.b.udp.sw.leave(h.seat) // at last: endClosed looks here
}

// newHold occupies at, where a port of 0 is any.
func (d *Datagram) newHold(at netip.AddrPort) (*hold, syscall.Errno) {
	both := at.Addr() == netip.IPv6Unspecified() && !d.v6only()
	if at.Addr().IsLoopback() {
		s, errno := d.b.udp.sw.take(d, nil, at, both)
		if errno != ok {
			return nil, errno
		}
		return &hold{at: s.at, seat: s}, ok
	}
	errno := syscall.Errno(unix.EADDRINUSE)
	for range 16 { // the tunnel chooses a port, which a socket on loopback may have
		socket, failed := d.listen(at, both)
		joined := false
		if failed == unix.EADDRINUSE {
			if socket = d.joinTunnel(at, both); socket != nil {
				failed, joined = ok, true
			}
		}
		if failed != ok {
			return nil, failed
		}
		want := at
		if socket != nil {
			want = netip.AddrPortFrom(at.Addr(), addrPortOf(socket.LocalAddr()).Port())
		}
		var s *seat
		if s, errno = d.b.udp.sw.take(d, socket, want, both); errno == ok {
			return &hold{at: s.at, seat: s, socket: socket, joined: joined}, ok
		}
		if socket != nil {
			socket.Close()
		}
		if at.Port() != 0 {
			break
		}
	}
	return nil, errno
}

// listen makes a socket in the tunnel; none, and no error, where the tunnel has no
// address of a wildcard's family.
func (d *Datagram) listen(at netip.AddrPort, both bool) (*tunnelSocket, syscall.Errno) {
	network, address := "udp6", at.String()
	switch {
	case both:
		network, address = "udp", netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port()).String()
	case at.Addr().Is4():
		network = "udp4"
	}
	socket, err := d.b.cfg.Dialer.ListenPacket(d.b.ctx, network, address)
	if err == nil {
		return &tunnelSocket{PacketConn: socket, users: 1}, ok
	}
	errno := errnoOf(err)
	if at.Addr().IsUnspecified() && (errno == unix.EADDRNOTAVAIL || errno == unix.EAFNOSUPPORT) {
		return nil, ok
	}
	return nil, errno
}

// discardPort takes the place of port 0, to which nothing is sent: what a way to
// an address is, is asked by connecting to it.
const discardPort = 9

// dial makes a hold that is connected through the tunnel.
func (d *Datagram) dial(to netip.AddrPort) (*hold, syscall.Errno) {
	network := "udp6"
	if to.Addr().Is4() {
		network = "udp4"
	}
	if to.Port() == 0 {
		to = netip.AddrPortFrom(to.Addr(), discardPort)
	}
	conn, err := d.b.cfg.Dialer.DialContext(d.b.ctx, network, to.String())
	if err != nil {
		return nil, errnoOf(err)
	}
	return &hold{at: addrPortOf(conn.LocalAddr()), conn: conn, connected: true}, ok
}

// readConn brings to the program what comes from the far end, and errors.
func (d *Datagram) readConn(h *hold, far netip.AddrPort) {
	buf := datagramBuffers.Get().(*[maxDatagram]byte)
	defer datagramBuffers.Put(buf)
	for {
		n, err := h.conn.Read(buf[:])
		if err == nil {
			d.in.push(tag{far, h.at.Addr()}, buf[:n])
			continue
		}
		if !isReport(err) {
			return
		}
		d.report(h, errnoOf(err))
	}
}

// readSocket brings to the program what comes from anywhere in the tunnel. It goes on
// as long as anybody has the socket.
func (d *Datagram) readSocket(h *hold) {
	buf := datagramBuffers.Get().(*[maxDatagram]byte)
	defer datagramBuffers.Put(buf)
	for {
		n, addr, err := h.socket.ReadFrom(buf[:])
		if err != nil {
			if isReport(err) {
				continue // about an earlier datagram: an unconnected socket is not told
			}
			return
		}
		from, local := addrPortOf(addr), h.at.Addr()
		if local.IsUnspecified() {
			local = d.b.ownAddress(from.Addr())
		}
		to := d
		if h.socket.isShared() {
			if to, _ = d.b.udp.sw.find(from, netip.AddrPortFrom(local, h.at.Port())); to == nil {
				continue
			}
		}
		to.in.push(tag{from, local}, buf[:n])
	}
}

// report leaves an error about what was sent, if h is still what the socket has.
func (d *Datagram) report(h *hold, errno syscall.Errno) {
	d.mu.Lock()
	current := d.hold == h && d.peer.IsValid()
	d.mu.Unlock()
	if current {
		d.in.fail(errno)
	}
}

// isReport reports whether an error of a socket in the tunnel is what the network has
// said about a datagram, and no end of the socket.
func isReport(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno { // icmp_err_convert and icmpv6_err_convert of the kernel
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.ENETUNREACH, unix.EMSGSIZE,
		unix.EPROTO, unix.ENOPROTOOPT, unix.EACCES, unix.EOPNOTSUPP:
		return true
	}
	return false
}
