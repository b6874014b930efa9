package hostile

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options by which a socket chooses its way.
var optionAttempts = category("options", usual(tunnel(), tunnel(unix.EPERM, unix.EINVAL, unix.ENODEV, unix.ENOPROTOOPT, unix.EOPNOTSUPP), refused(unix.EACCES)),
	&Attempt{Name: "bind-host-address", Does: "send from the host's own address", Control: Everybody,
		Expect: inNamespace(refused(unix.EADDRNOTAVAIL)).seccomp(refused(unix.EADDRNOTAVAIL)), try: tryBindHost},
	&Attempt{Name: "freebind", Does: "the same with IP_FREEBIND", Control: Everybody, try: tryFreebind},
	&Attempt{Name: "freebind6", Does: "the same by IPv6", Control: Everybody, try: tryFreebind6},
	&Attempt{Name: "transparent", Does: "the same with IP_TRANSPARENT", Control: Powerful,
		Expect: inNamespace(refused(unix.EPERM)).seccomp(refused(unix.EPERM, unix.ENOPROTOOPT, unix.EOPNOTSUPP)), try: tryTransparent},
	&Attempt{Name: "bind-device", Does: "SO_BINDTODEVICE to the host's interface", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EPERM)), try: tryBindDevice},
	&Attempt{Name: "bind-ifindex", Does: "SO_BINDTOIFINDEX to the host's interface", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EPERM)), try: tryBindIndex},
	&Attempt{Name: "unbind", Does: "bound to lo, set free by connect(AF_UNSPEC)", Control: Everybody, try: tryUnbind},
	&Attempt{Name: "pktinfo4", Does: "IP_PKTINFO names the host's interface and address", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL)), try: tryPktinfo4},
	&Attempt{Name: "pktinfo4-device", Does: "IP_PKTINFO names the host's interface only", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL)), try: tryPktinfo4Device},
	&Attempt{Name: "pktinfo6", Does: "IPV6_PKTINFO names the host's interface", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL)), try: tryPktinfo6},
	&Attempt{Name: "pktinfo-mapped", Does: "IP_PKTINFO on a socket of IPv6, to ::ffff:IPv4", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL)), try: tryPktinfoMapped},
	&Attempt{Name: "unicast-if", Does: "IP_UNICAST_IF", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL, unix.EADDRNOTAVAIL)), try: tryUnicastIf},
	&Attempt{Name: "unicast-if6", Does: "IPV6_UNICAST_IF", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL, unix.EADDRNOTAVAIL)), try: tryUnicastIf6},
	&Attempt{Name: "mark", Does: "SO_MARK, for another routing table", Control: Powerful,
		Expect: inNamespace(refused(unix.EPERM)).seccomp(refused(unix.EPERM)), try: tryMark},
	&Attempt{Name: "dont-route", Does: "SO_DONTROUTE to a neighbour of the host's", Control: Everybody, try: tryDontRoute},
	&Attempt{Name: "source-route", Does: "IP_OPTIONS with a source route", Control: Powerful,
		Expect: inNamespace(refused(unix.EPERM)).seccomp(refused(unix.EPERM, unix.ENOPROTOOPT, unix.EOPNOTSUPP)), try: trySourceRoute},
	&Attempt{Name: "scope6", Does: "an address of IPv6 with the host's interface as its scope", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENODEV, unix.EINVAL)), try: tryScope},
)

func tryBindHost(w *World) Result {
	return datagrams(w, false, func(w *World, fd int) Result {
		if err := unix.Bind(fd, to(netip.AddrPortFrom(w.Host4, 0), false)); err != nil {
			return no("bind", err)
		}
		return Result{}
	})
}

// fromHost sets the option and binds to an address of the host's.
func fromHost(w *World, v6 bool, level, option int, name string) Result {
	host := w.Host4
	if v6 {
		host = w.Host6
	}
	if !host.IsValid() {
		return missing("an address of this family")
	}
	return datagrams(w, v6, func(w *World, fd int) Result {
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return no("setsockopt("+name+")", err)
		}
		if err := unix.Bind(fd, to(netip.AddrPortFrom(host, 0), v6)); err != nil {
			return no("bind", err)
		}
		return Result{}
	})
}

func tryFreebind(w *World) Result {
	return fromHost(w, false, unix.IPPROTO_IP, unix.IP_FREEBIND, "IP_FREEBIND")
}

func tryFreebind6(w *World) Result {
	return fromHost(w, true, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, "IPV6_FREEBIND")
}

func tryTransparent(w *World) Result {
	return fromHost(w, false, unix.IPPROTO_IP, unix.IP_TRANSPARENT, "IP_TRANSPARENT")
}

func tryBindDevice(w *World) Result {
	return datagrams(w, false, func(w *World, fd int) Result {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, w.Name); err != nil {
			return no("setsockopt(SO_BINDTODEVICE)", err)
		}
		return Result{}
	})
}

func tryBindIndex(w *World) Result {
	return withInt(w, false, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, w.Link)
}

// withInt sends with one option set to a number.
func withInt(w *World, v6 bool, level, option, value int) Result {
	return datagrams(w, v6, func(w *World, fd int) Result {
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			return no("setsockopt", err)
		}
		return Result{}
	})
}

func tryUnicastIf(w *World) Result {
	return withInt(w, false, unix.IPPROTO_IP, unix.IP_UNICAST_IF, int(swap32(uint32(w.Link))))
}

func tryUnicastIf6(w *World) Result {
	return withInt(w, true, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, int(swap32(uint32(w.Link))))
}

// swap32 returns v in network order.
func swap32(v uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return binary.NativeEndian.Uint32(b[:])
}

func tryMark(w *World) Result { return withInt(w, false, unix.SOL_SOCKET, unix.SO_MARK, 0x1234) }

// tryUnbind is what glibc's getaddrinfo does when it sorts addresses; it takes a
// binding to a device off.
func tryUnbind(w *World) Result {
	return datagrams(w, false, func(w *World, fd int) Result {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo"); err != nil {
			return no("setsockopt(SO_BINDTODEVICE)", err)
		}
		unspec := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec))
		if errno != 0 {
			return no("connect(AF_UNSPEC)", errno)
		}
		return Result{}
	})
}

// withControl sends with a control message.
func withControl(w *World, v6 bool, targets []netip.AddrPort, control []byte) Result {
	fd, err := unix.Socket(family(v6), unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	return toEach(targets, func(t netip.AddrPort) error {
		return unix.Sendmsg(fd, []byte(w.canary()), control, to(t, v6), 0)
	})
}

func tryPktinfo4(w *World) Result {
	return withControl(w, false, w.targets(false),
		unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()}))
}

func tryPktinfo4Device(w *World) Result {
	return withControl(w, false, w.targets(false), unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link)}))
}

func tryPktinfo6(w *World) Result {
	return withControl(w, true, w.targets(true), unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(w.Link)}))
}

func tryPktinfoMapped(w *World) Result {
	return withControl(w, true, mapped(w.targets(false)),
		unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()}))
}

func tryDontRoute(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DONTROUTE, 1); err != nil {
		return no("setsockopt(SO_DONTROUTE)", err)
	}
	return sendTo(w, fd, false, []netip.AddrPort{netip.AddrPortFrom(w.beyond(false), w.lonely())})
}

func trySourceRoute(w *World) Result {
	return datagrams(w, false, func(w *World, fd int) Result {
		// no operation, loose source route: type, length, pointer, one hop (RFC 791 §3.1).
		hop := w.beyond(false).As4()
		option := append([]byte{1, 131, 7, 4}, hop[:]...)
		if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, string(option)); err != nil {
			return no("setsockopt(IP_OPTIONS)", err)
		}
		return Result{}
	})
}

func tryScope(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	return toEach(w.targets(true), func(t netip.AddrPort) error {
		return unix.Sendto(fd, []byte(w.canary()), 0,
			&unix.SockaddrInet6{Addr: t.Addr().As16(), Port: int(t.Port()), ZoneId: uint32(w.Link)})
	})
}
