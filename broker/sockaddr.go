package broker

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Family returns the address family of a struct sockaddr, AF_UNSPEC of one that
// is too short to have any.
func Family(sa []byte) int {
	if len(sa) < 2 {
		return unix.AF_UNSPEC
	}
	return int(binary.NativeEndian.Uint16(sa))
}

// parseSockaddr reads an address of a socket of family, as connect(2) and
// sendto(2) do. IPv4-mapped addresses come out as IPv4; zones are left out.
func parseSockaddr(family int, sa []byte) (netip.AddrPort, syscall.Errno) {
	switch {
	case family == unix.AF_INET && len(sa) < unix.SizeofSockaddrInet4,
		family == unix.AF_INET6 && len(sa) < sizeofSockaddrInet6RFC2133:
		return netip.AddrPort{}, unix.EINVAL
	case Family(sa) == unix.AF_INET && len(sa) >= unix.SizeofSockaddrInet4 && family == unix.AF_INET:
		// family (2), port (2, network order), address (4)
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), binary.BigEndian.Uint16(sa[2:])), ok
	case Family(sa) == unix.AF_INET6 && family == unix.AF_INET6:
		// family (2), port (2, network order), flow (4), address (16), scope (4)
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(sa[8:24])).Unmap(), binary.BigEndian.Uint16(sa[2:])), ok
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// lacksScope reports whether sa is an address of a link, and does not say of which.
func lacksScope(sa []byte) bool {
	if Family(sa) != unix.AF_INET6 || len(sa) < sizeofSockaddrInet6RFC2133 {
		return false
	}
	if !netip.AddrFrom16([16]byte(sa[8:24])).IsLinkLocalUnicast() {
		return false
	}
	return len(sa) < unix.SizeofSockaddrInet6 || binary.NativeEndian.Uint32(sa[24:]) == 0
}

// sizeofSockaddrInet6RFC2133 is the size without a scope, which the kernel takes
// as well (SIN6_LEN_RFC2133).
const sizeofSockaddrInet6RFC2133 = 24

// sockaddr returns a as a socket of family shows it.
func sockaddr(family int, a netip.AddrPort) []byte {
	if family == unix.AF_INET {
		sa := make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(sa, unix.AF_INET)
		binary.BigEndian.PutUint16(sa[2:], a.Port())
		if a.Addr().Unmap().Is4() {
			b := a.Addr().Unmap().As4()
			copy(sa[4:], b[:])
		}
		return sa
	}
	sa := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(sa, unix.AF_INET6)
	binary.BigEndian.PutUint16(sa[2:], a.Port())
	if a.Addr().IsValid() {
		b := a.Addr().As16() // an IPv4 address as ::ffff:a.b.c.d
		copy(sa[8:], b[:])
	}
	return sa
}
