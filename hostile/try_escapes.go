package hostile

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An escape is what can be done with a socket, whoever has made it and whatever it
// is bound to, after which something may leave by another interface. Each is an
// attempt; the tests make them with a socket bound to lo besides.
type escape struct {
	name, does string
	v6, stream bool
	control    Who // Nobody: Everybody, as most
	expect     Modes
	do         func(w *World, fd int) Result
}

func (e *escape) kind() int {
	if e.stream {
		return unix.SOCK_STREAM | unix.SOCK_NONBLOCK
	}
	return unix.SOCK_DGRAM
}

// escapes are in the order of what they do. Of those with a join the kernel speaks
// itself: it reports groups, for sockets of TCP as well.
var escapes = []escape{
	{name: "unspec4", does: "connect(AF_UNSPEC), then send", do: afterUnspec(unix.SizeofSockaddrInet4)},
	{name: "unspec4-short", does: "the same with an address of two bytes", do: afterUnspec(2)},
	{name: "unspec6", does: "the same by IPv6", v6: true, do: afterUnspec(unix.SizeofSockaddrInet6)},
	{name: "unspec-mapped", does: "the same to ::ffff:IPv4", v6: true, do: tryUnspecMapped},
	{name: "unspec-connected", does: "connect, connect(AF_UNSPEC), send elsewhere", do: tryUnspecConnected},
	{name: "unbind-device", does: "SO_BINDTODEVICE to nothing, then send", do: afterOption(unix.SO_BINDTODEVICE, "\x00")},
	{name: "unbind-ifindex", does: "SO_BINDTOIFINDEX 0, then send", do: afterOption(unix.SO_BINDTOIFINDEX, "\x00\x00\x00\x00")},
	{name: "pktinfo4-sendmmsg", does: "IP_PKTINFO by sendmmsg", do: tryManyPktinfo4},
	{name: "pktinfo6-sendmmsg", does: "IPV6_PKTINFO by sendmmsg", v6: true, do: tryManyPktinfo6},
	{name: "pktinfo4-bound", does: "IP_PKTINFO after bind to 127.0.0.1", do: tryBoundPktinfo4},
	{name: "pktinfo6-bound", does: "IPV6_PKTINFO after bind to ::1", v6: true, do: tryBoundPktinfo6},
	{name: "pktinfo6-sticky", does: "IPV6_PKTINFO by setsockopt, for all that follows", v6: true, do: tryStickyPktinfo},
	{name: "pktinfo6-old", does: "the control message of RFC 2292", v6: true, do: tryOldPktinfo},
	{name: "pktinfo6-mapped", does: "IPV6_PKTINFO with the host's ::ffff:IPv4, to ::ffff:IPv4", v6: true, do: tryMappedPktinfo},
	{name: "control-options", does: "a source route by a control message (IP_RETOPTS)", control: Powerful, expect: ignored, do: tryRetopts},
	{name: "control-mark", does: "a mark by a control message (SO_MARK)", control: Powerful, expect: ignored, do: tryControlMark},

	{name: "tcp-unspec", does: "connect, connect(AF_UNSPEC), connect again", stream: true, do: tryUnspecTCP},
	{name: "tcp-unbind-device", does: "SO_BINDTODEVICE to nothing, then connect", stream: true, expect: bound, do: afterOption(unix.SO_BINDTODEVICE, "\x00")},
	{name: "tcp-unbind-ifindex", does: "SO_BINDTOIFINDEX 0, then connect", stream: true, expect: bound, do: afterOption(unix.SO_BINDTOIFINDEX, "\x00\x00\x00\x00")},
	{name: "tcp-bind-device", does: "SO_BINDTODEVICE to the host's interface, then connect", stream: true, expect: bound, do: tryBindDeviceTCP},
	{name: "tcp-bind-ifindex", does: "SO_BINDTOIFINDEX to the host's interface, then connect", stream: true, expect: bound, do: tryBindIndexTCP},
	{name: "tcp-unicast-if", does: "IP_UNICAST_IF, then connect", stream: true, expect: bound, do: tryUnicastTCP},
	{name: "tcp6-pktinfo", does: "IPV6_PKTINFO by setsockopt, then connect", v6: true, stream: true, expect: bound, do: tryStickyTCP},
	{name: "tcp-accepted", does: "the other end of a connection to itself: connect(AF_UNSPEC), connect out", stream: true,
		expect: inSeccomp(tunnel(unix.EPERM, unix.EINVAL, unix.EISCONN, unix.EOPNOTSUPP)), do: tryAccepted},
	{name: "tcp-listening", does: "a listener: connect(AF_UNSPEC), connect out", stream: true,
		expect: inSeccomp(tunnel(unix.EPERM, unix.EINVAL, unix.EISCONN, unix.EOPNOTSUPP)), do: tryListening},

	{name: "join4-index", does: "join a group (IP_ADD_MEMBERSHIP) by the interface's number", do: joining4(reqn4)},
	{name: "join4-address", does: "the same by the interface's address", do: joining4(req4)},
	{name: "join4-group", does: "join a group (MCAST_JOIN_GROUP)", do: joining(false, unix.MCAST_JOIN_GROUP)},
	{name: "join4-group-source", does: "join a group for one source (MCAST_JOIN_SOURCE_GROUP)", do: joining(false, unix.MCAST_JOIN_SOURCE_GROUP)},
	{name: "join6-group", does: "join a group of IPv6 (MCAST_JOIN_GROUP)", v6: true, do: joining(true, unix.MCAST_JOIN_GROUP)},
	{name: "join6-group-source", does: "the same for one source", v6: true, do: joining(true, unix.MCAST_JOIN_SOURCE_GROUP)},
	{name: "join4-on-6", does: "a group of IPv4 by a socket of IPv6", v6: true, do: joining(false, unix.MCAST_JOIN_GROUP)},
	{name: "join4-tcp-old", does: "join a group for one source (IP_ADD_SOURCE_MEMBERSHIP) by a socket of TCP", stream: true, expect: noJoin, do: joining4(source4)},
	{name: "join4-tcp", does: "join a group (MCAST_JOIN_GROUP) by a socket of TCP", stream: true, expect: noJoin, do: joining(false, unix.MCAST_JOIN_GROUP)},
	{name: "join4-tcp-source", does: "the same for one source", stream: true, expect: noJoin, do: joining(false, unix.MCAST_JOIN_SOURCE_GROUP)},
	{name: "join6-tcp", does: "the same by IPv6", v6: true, stream: true, expect: noJoin, do: joining(true, unix.MCAST_JOIN_GROUP)},
	{name: "join6-tcp-source", does: "the same for one source", v6: true, stream: true, expect: noJoin, do: joining(true, unix.MCAST_JOIN_SOURCE_GROUP)},
	{name: "join4-tcp-on-6", does: "a group of IPv4 by a socket of TCP of IPv6", v6: true, stream: true, expect: noJoin, do: joining(false, unix.MCAST_JOIN_GROUP)},
}

var (
	// bound is what a socket of TCP says that cannot be bound to anything else.
	bound = inSeccomp(tunnel(unix.EPERM, unix.EINVAL, unix.ENODEV, unix.ENOPROTOOPT)).with(Namespace, tunnel(unix.EPERM, unix.EINVAL, unix.ENODEV))
	// noJoin: TCP has no groups, and a guard says so.
	noJoin = inSeccomp(refused(unix.EPERM, unix.EPROTO, unix.ENODEV, unix.EINVAL, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EADDRNOTAVAIL))
	// ignored are control messages that mean nothing to what is no inet socket.
	ignored = inSeccomp(tunnel(unix.EPERM, unix.EINVAL)).with(Namespace, tunnel(unix.EPERM, unix.EINVAL))
)

// escapeAttempts returns an attempt for each escape.
func escapeAttempts() (list []*Attempt) {
	for _, e := range escapes {
		a := &Attempt{Name: e.name, Does: e.does, Expect: e.expect, Control: e.control}
		if e.control == Nobody {
			a.Control = Everybody
		}
		a.try = func(w *World) Result {
			fd, err := unix.Socket(family(e.v6), e.kind()|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return noSuch("socket", err)
			}
			return e.do(w, fd)
		}
		list = append(list, a)
	}
	return category("escapes", usual(tunnel(unix.ENODEV, unix.EINVAL, unix.EPERM),
		tunnel(unix.ENODEV, unix.EINVAL, unix.EPERM, unix.ENOPROTOOPT, unix.EOPNOTSUPP), refused(unix.EACCES)), list...)
}

// out sends by fd to the targets, of its family.
func out(w *World, fd int) Result {
	domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	v6 := domain == unix.AF_INET6
	if kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); kind == unix.SOCK_STREAM {
		targets := w.targets(v6)
		if len(targets) == 0 {
			return missing("an address of this family")
		}
		t := targets[0]
		if w.Far4.IsValid() {
			t = targets[1] // by its port the first packet is known
		}
		if err := connectAndSay(w, fd, to(t, v6)); err != nil {
			return no("connect", err)
		}
		return sent()
	}
	return sendTo(w, fd, v6, w.targets(v6))
}

// unspec disconnects fd with an address of size bytes.
func unspec(fd, size int) error {
	var none [unix.SizeofSockaddrInet6]byte // AF_UNSPEC is 0
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), uintptr(size))
	if errno != 0 {
		return errno
	}
	return nil
}

func afterUnspec(size int) func(*World, int) Result {
	return func(w *World, fd int) Result {
		if err := unspec(fd, size); err != nil {
			return no("connect(AF_UNSPEC)", err)
		}
		return out(w, fd)
	}
}

func tryUnspecMapped(w *World, fd int) Result {
	if err := unspec(fd, unix.SizeofSockaddrInet6); err != nil {
		return no("connect(AF_UNSPEC)", err)
	}
	return sendTo(w, fd, true, mapped(w.targets(false)))
}

func tryUnspecConnected(w *World, fd int) Result {
	if err := unix.Connect(fd, to(w.targets(false)[0], false)); err != nil {
		return no("connect", err)
	}
	return afterUnspec(unix.SizeofSockaddrInet4)(w, fd)
}

func afterOption(option int, value string) func(*World, int) Result {
	return func(w *World, fd int) Result {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, option, value); err != nil {
			return no("setsockopt", err)
		}
		return out(w, fd)
	}
}

// tryManyPktinfo4 sends two datagrams with a control message each.
func tryManyPktinfo4(w *World, fd int) Result {
	return toEach(w.targets(false), func(t netip.AddrPort) error {
		a := t.Addr().As4()
		name := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], t.Port())
		return sendMany(w, fd, unsafe.Pointer(&name), unix.SizeofSockaddrInet4, unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()}))
	})
}

func tryManyPktinfo6(w *World, fd int) Result {
	return toEach(w.targets(true), func(t netip.AddrPort) error {
		name := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: t.Addr().As16()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], t.Port())
		return sendMany(w, fd, unsafe.Pointer(&name), unix.SizeofSockaddrInet6, unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(w.Link)}))
	})
}

// sendMany is sendmmsg(2) of two canaries.
func sendMany(w *World, fd int, name unsafe.Pointer, size uint32, control []byte) error {
	var messages [2]mmsghdr
	for i := range messages {
		text := []byte(w.canary())
		iov := &unix.Iovec{Base: &text[0]}
		iov.SetLen(len(text))
		h := &messages[i].header
		h.Name, h.Namelen, h.Iov, h.Control = (*byte)(name), size, iov, &control[0]
		h.SetIovlen(1)
		h.SetControllen(len(control))
	}
	_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages)), 2, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// controlled sends with a control message.
func controlled(w *World, fd int, v6 bool, targets []netip.AddrPort, control []byte) Result {
	return toEach(targets, func(t netip.AddrPort) error {
		return unix.Sendmsg(fd, []byte(w.canary()), control, to(t, v6), 0)
	})
}

func tryBoundPktinfo4(w *World, fd int) Result {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return no("bind", err)
	}
	return controlled(w, fd, false, w.targets(false), unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()}))
}

func tryBoundPktinfo6(w *World, fd int) Result {
	if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}); err != nil {
		return no("bind", err)
	}
	return controlled(w, fd, true, w.targets(true), unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(w.Link), Addr: w.source6()}))
}

// source6 is the host's address of IPv6.
func (w *World) source6() (a [16]byte) {
	if w.Host6.IsValid() {
		a = w.Host6.As16()
	}
	return a
}

// stick sets IPV6_PKTINFO for good.
func stick(w *World, fd int) error {
	var info [unix.SizeofInet6Pktinfo]byte
	binary.NativeEndian.PutUint32(info[16:], uint32(w.Link))
	return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, string(info[:]))
}

func tryStickyPktinfo(w *World, fd int) Result {
	if err := stick(w, fd); err != nil {
		return no("setsockopt(IPV6_PKTINFO)", err)
	}
	return out(w, fd)
}

func tryOldPktinfo(w *World, fd int) Result {
	control := unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(w.Link)})
	(*unix.Cmsghdr)(unsafe.Pointer(&control[0])).Type = unix.IPV6_2292PKTINFO
	return controlled(w, fd, true, w.targets(true), control)
}

func tryMappedPktinfo(w *World, fd int) Result {
	return controlled(w, fd, true, mapped(w.targets(false)),
		unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(w.Link), Addr: w.Host4.As16()}))
}
