package hostile

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// One for many, and neighbours. Groups stay on the machine where there is no
// laboratory: their packets have a hop limit of 0.
var groupAttempts = category("groups", usual(tunnel(unix.ENODEV, unix.EINVAL, unix.EACCES),
	tunnel(unix.ENODEV, unix.EINVAL, unix.EACCES, unix.EPERM, unix.ENOPROTOOPT, unix.EOPNOTSUPP), refused(unix.EACCES)),
	&Attempt{Name: "multicast4", Does: "to a group, by the host's interface (IP_MULTICAST_IF)", Control: Everybody, try: tryMulticast4},
	&Attempt{Name: "multicast4-address", Does: "to a group, by the host's address", Control: Everybody, try: tryMulticast4Address},
	&Attempt{Name: "multicast6", Does: "to a group, by IPV6_MULTICAST_IF", Control: Everybody, try: tryMulticast6},
	&Attempt{Name: "join4", Does: "join a group on the host's interface: the kernel reports it", Control: Everybody, try: tryJoin4},
	&Attempt{Name: "join4-source", Does: "the same for one source (MCAST_JOIN_SOURCE_GROUP)", Control: Everybody, try: tryJoinSource},
	&Attempt{Name: "join6", Does: "the same by IPv6", Control: Everybody, try: tryJoin6},
	&Attempt{Name: "broadcast", Does: "to 255.255.255.255", Control: Everybody, try: tryBroadcast},
	&Attempt{Name: "mdns", Does: "ask the link for a name (224.0.0.251, ff02::fb)", Control: Everybody, try: tryMDNS},
	&Attempt{Name: "link-local", Does: "to fe80::… on the host's interface: the kernel asks for the neighbour", Control: Everybody, try: tryLinkLocal},
	&Attempt{Name: "all-nodes", Does: "to ff02::1 on the host's interface", Control: Everybody, try: tryAllNodes},
)

// hops is the hop limit of packets to groups.
func (w *World) hops() int {
	if w.Far4.IsValid() {
		return 1
	}
	return 0
}

// multicast4 sends to the group with the interface set by option.
func multicast4(w *World, way *unix.IPMreqn) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, w.hops()); err != nil {
		return no("setsockopt(IP_MULTICAST_TTL)", err)
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, way); err != nil {
		return no("setsockopt(IP_MULTICAST_IF)", err)
	}
	return sendTo(w, fd, false, []netip.AddrPort{netip.AddrPortFrom(w.group4(), w.lonely())})
}

func tryMulticast4(w *World) Result { return multicast4(w, &unix.IPMreqn{Ifindex: int32(w.Link)}) }

func tryMulticast4Address(w *World) Result {
	return multicast4(w, &unix.IPMreqn{Address: w.Host4.As4()})
}

func tryMulticast6(w *World) Result { return multicast6(w, w.group6()) }

func tryAllNodes(w *World) Result { return multicast6(w, netip.IPv6LinkLocalAllNodes()) }

func multicast6(w *World, group netip.Addr) Result {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, w.hops()); err != nil {
		return no("setsockopt(IPV6_MULTICAST_HOPS)", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, w.Link); err != nil {
		return no("setsockopt(IPV6_MULTICAST_IF)", err)
	}
	return sendTo(w, fd, true, []netip.AddrPort{netip.AddrPortFrom(group, w.lonely())})
}

// stay keeps a membership until the kernel must have reported it.
func stay() Result {
	for range 4 {
		unix.Poll(nil, int(moment.Milliseconds()))
	}
	return sent()
}

func tryJoin4(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	m := unix.IPMreqn{Multiaddr: w.group4().As4(), Ifindex: int32(w.Link)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &m); err != nil {
		return no("setsockopt(IP_ADD_MEMBERSHIP)", err)
	}
	return stay()
}

func tryJoinSource(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	// struct ip_mreq_source: group, interface's address, source (ip(7)).
	group, host, source := w.group4().As4(), w.Host4.As4(), [4]byte{198, 51, 100, 1}
	m := append(append(group[:], host[:]...), source[:]...)
	if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP, string(m)); err != nil {
		return no("setsockopt(IP_ADD_SOURCE_MEMBERSHIP)", err)
	}
	return stay()
}

func tryJoin6(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	m := unix.IPv6Mreq{Multiaddr: w.group6().As16(), Interface: uint32(w.Link)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &m); err != nil {
		return no("setsockopt(IPV6_JOIN_GROUP)", err)
	}
	return stay()
}

func tryBroadcast(w *World) Result {
	if !w.Far4.IsValid() {
		return missing("a laboratory: it would leave this machine")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return no("setsockopt(SO_BROADCAST)", err)
	}
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return sendTo(w, fd, false, []netip.AddrPort{netip.AddrPortFrom(all, w.lonely())})
}

// tryMDNS asks as avahi and nss-mdns do (RFC 6762 §5.1).
func tryMDNS(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, w.hops()); err != nil {
		return no("setsockopt(IP_MULTICAST_TTL)", err)
	}
	group := netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), 5353)
	if err := unix.Sendto(fd, query(w.question()), 0, to(group, false)); err != nil {
		return no("send", err)
	}
	return sent()
}

// tryLinkLocal sends to an address that nobody has: on the host's link the kernel
// would ask who has it (RFC 4861 §7.2.2), and that names it.
func tryLinkLocal(w *World) Result {
	if !w.Far6.IsValid() {
		return missing("a laboratory: it would leave this machine")
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	a := w.marked6([8]byte{0xfe, 0x80})
	if err := unix.Sendto(fd, []byte(w.canary()), 0,
		&unix.SockaddrInet6{Addr: a.As16(), Port: int(w.lonely()), ZoneId: uint32(w.Link)}); err != nil {
		return no("send", err)
	}
	ready(fd, unix.POLLIN)
	return sent()
}
