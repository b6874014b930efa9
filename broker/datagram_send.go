package broker

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Send is sendmsg(2), or sendto(2). It returns the length of the payload. It does not
// wait: nothing that it sends to has a queue that is waited for.
func (d *Datagram) Send(_ context.Context, m Message, _ bool) (int, syscall.Errno) {
	d.mu.Lock()
	d.autobind()
	to, errno := d.destination(m.To)
	d.mu.Unlock()
	if len(m.Payload) > 0xffff { // udp_sendmsg looks at this first
		return 0, unix.EMSGSIZE
	}
	if m.Flags&unix.MSG_OOB != 0 && (d.family == unix.AF_INET || to.Addr().Is4()) {
		return 0, unix.EOPNOTSUPP // IPv6 knows no such thing
	}
	if errno != ok {
		return 0, errno
	}
	size, errno := segmentSize(m.Control, d.opts.get(unix.SOL_UDP, unix.UDP_SEGMENT))
	if errno != ok {
		return 0, errno
	}
	d.drainNow() // what was sent before this goes first
	w, errno := d.wayTo(to)
	if errno == ok {
		errno = w.check(len(m.Payload), size)
	}
	if errno == ok {
		errno = d.in.take()
	}
	if errno == ok {
		errno = w.send(m.Payload, size)
	}
	if errno != ok {
		return 0, errno
	}
	return len(m.Payload), ok
}

// destination reads the address of sendto(2): the zero AddrPort is the peer of
// connect. Each family of sockets has its own ideas of the other's addresses
// (udp_sendmsg, udpv6_sendmsg). d.mu must be held.
func (d *Datagram) destination(sa []byte) (netip.AddrPort, syscall.Errno) {
	if len(sa) == 0 {
		return netip.AddrPort{}, ok
	}
	is6 := d.family == unix.AF_INET6
	if is6 && len(sa) < 2 {
		return netip.AddrPort{}, unix.EINVAL
	}
	var to netip.AddrPort
	var errno syscall.Errno
	switch family := Family(sa); {
	case is6 && family == unix.AF_UNSPEC:
		return netip.AddrPort{}, ok
	case is6 && family == unix.AF_INET6:
		to, errno = parseSockaddr(unix.AF_INET6, sa)
	case is6 && family != unix.AF_INET:
		return netip.AddrPort{}, unix.EINVAL
	case is6 && d.v6only():
		return netip.AddrPort{}, unix.ENETUNREACH
	case len(sa) < unix.SizeofSockaddrInet4:
		return netip.AddrPort{}, unix.EINVAL
	case family != unix.AF_INET && family != unix.AF_UNSPEC:
		return netip.AddrPort{}, unix.EAFNOSUPPORT
	default:
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), binary.BigEndian.Uint16(sa[2:]))
	}
	switch {
	case errno != ok:
		return netip.AddrPort{}, errno
	case is6 && to.Addr().Is4() && d.v6only():
		return netip.AddrPort{}, unix.ENETUNREACH
	case to.Port() == 0:
		return netip.AddrPort{}, unix.EINVAL
	}
	return d.reachable(to)
}

// A way is what is known of where a datagram goes before it does.
type way struct {
	d      *Datagram
	hold   *hold
	to     netip.AddrPort
	local  netip.Addr // source for the switchboard; not valid: by the tunnel
	toPeer bool
}

// wayTo returns the way to an address, or to the peer.
func (d *Datagram) wayTo(to netip.AddrPort) (way, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := way{d: d, to: to, toPeer: isFrom(d.peer, to)}
	if !to.IsValid() {
		w.to, w.toPeer = d.peer, true
	}
	switch {
	case d.ended:
		return way{}, unix.EPIPE
	case !w.to.IsValid():
		return way{}, unix.EDESTADDRREQ
	case w.to.Port() == 0 && w.to.Addr().Is4() && d.family == unix.AF_INET6:
		return way{}, unix.EINVAL // connect takes it, and mapped it is looked at again
	}
	if errno := d.occupy(); errno != ok {
		return way{}, errno
	}
	w.hold = d.hold
	w.local = d.b.sourceFor(w.to)
	bound := d.addressFor(w.to.Addr())
	if errno := canLeave(bound, w.local, w.to.Addr()); errno != ok {
		return way{}, errno
	}
	switch {
	case w.local.IsValid() && !bound.IsUnspecified():
		w.local = bound
	case w.local.IsValid():
	case w.hold.socket == nil && w.hold.conn == nil:
		return way{}, unix.ENETUNREACH
	}
	return w, ok
}

// tunnelMTU is what IP_MTU says of every way.
const tunnelMTU = 1420

// check returns why a message of n bytes, in segments if size is not 0, cannot be sent.
func (w *way) check(n, size int) syscall.Errno {
	const udpHeader, maxSegments = 8, 128 // UDP_MAX_SEGMENTS of the kernel
	header, most, discover := 20+udpHeader, 0xffff-20-udpHeader, w.d.opts.get(unix.SOL_IP, unix.IP_MTU_DISCOVER)
	if w.to.Addr().Is6() {
		header, most, discover = 40+udpHeader, 0xffff-udpHeader, w.d.opts.get(unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER)
	}
	if n > most {
		return unix.EMSGSIZE
	}
	if size > 0 && n > size {
		if n > size*maxSegments {
			return unix.EINVAL
		}
		n = size
	}
	whole := discover == unix.IP_PMTUDISC_DO || discover == unix.IP_PMTUDISC_PROBE
	if whole && !w.local.IsValid() && n+header > tunnelMTU {
		return unix.EMSGSIZE
	}
	return ok
}

// send sends a message, in segments if size is not 0.
func (w *way) send(payload []byte, size int) syscall.Errno {
	for size > 0 && len(payload) > size {
		if errno := w.sendOne(payload[:size]); errno != ok {
			return errno
		}
		payload = payload[size:]
	}
	return w.sendOne(payload)
}

func (w *way) sendOne(payload []byte) syscall.Errno {
	if w.local.IsValid() {
		from := netip.AddrPortFrom(w.local, w.hold.at.Port())
		if !w.d.b.deliver(w.d, from, w.to, payload) && w.toPeer {
			w.d.in.fail(unix.ECONNREFUSED) // what the kernel's own ICMP error says
		}
		return ok
	}
	if w.to.Port() == 0 {
		return ok // and nobody is there
	}
	far := net.UDPAddrFromAddrPort(w.to)
	var err error
	switch h := w.hold; {
	case h.socket != nil:
		_, err = h.socket.WriteTo(payload, far)
	case addrPortOf(h.conn.RemoteAddr()) == w.to:
		_, err = h.conn.Write(payload)
	default:
		other, can := h.conn.(net.PacketConn)
		if !can {
			return unix.EISCONN // Linux would send it
		}
		_, err = other.WriteTo(payload, far)
	}
	return errnoOf(err)
}

// drain sends up to most datagrams that the program has sent natively: fd is the far
// end. It returns true when nothing more can come.
func (d *Datagram) drain(fd uintptr, most int) (end bool) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	buf := datagramBuffers.Get().(*[maxDatagram]byte)
	defer datagramBuffers.Put(buf)
	var control [64]byte // for the time
	for range most {
		n, nc, flags, _, err := unix.Recvmsg(int(fd), buf[:], control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		case err != nil:
			return true
		case n == 0 && nc == 0:
			return isHungUp(int(fd)) // else it was shutdown(2) of one direction
		case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0:
			d.sendNative(buf[:n])
		}
		if nc > timeLen {
			dropDescriptors(control[:nc])
		}
	}
	return false
}

// timeLen is the length of a control message that has the time.
var timeLen = unix.CmsgSpace(int(unsafe.Sizeof(unix.Timeval{})))

// drainNow sends what the program has sent natively before a call that has to come
// after it. More than the queue holds has been sent meanwhile.
func (d *Datagram) drainNow() {
	const queueLen = 512
	d.raw.Control(func(fd uintptr) { d.drain(fd, queueLen) })
}

// sendNative sends what the program has sent without an address. There is nobody left
// to tell of an error: it is lost, as a datagram may be. But a refusal is about an
// earlier one; this one leaves.
func (d *Datagram) sendNative(payload []byte) {
	w, errno := d.wayTo(netip.AddrPort{})
	size := d.opts.get(unix.SOL_UDP, unix.UDP_SEGMENT)
	if errno != ok || w.check(len(payload), size) != ok {
		return
	}
	if w.send(payload, size) == unix.ECONNREFUSED {
		d.in.fail(unix.ECONNREFUSED)
		w.send(payload, size)
	}
}

// isHungUp reports whether the other end of a pair is closed.
func isHungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLHUP != 0
}

// dropDescriptors closes what a program has sent over its socket as if it were one of
// AF_UNIX.
func dropDescriptors(control []byte) {
	list, _ := parseControl(control)
	for _, c := range list {
		if c.level != unix.SOL_SOCKET || c.kind != unix.SCM_RIGHTS {
			continue
		}
		fds, _ := unix.ParseUnixRights(&unix.SocketControlMessage{
			Header: unix.Cmsghdr{Level: c.level, Type: c.kind}, Data: c.data})
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}
