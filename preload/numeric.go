package preload

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parseNumeric reads an address as getaddrinfo(3) does: IPv4 in any form of
// inet_aton(3), IPv6 with an interface or without.
func parseNumeric(text string) (netip.Addr, bool) {
	if !strings.Contains(text, ":") {
		return parseAton(text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || zoneOf(addr) == 0 && addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr, true
}

// parseAton reads an IPv4 address as inet_aton(3): one to four numbers, of which the
// last fills what is left, each decimal, octal or hexadecimal.
func parseAton(text string) (netip.Addr, bool) {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, p := range parts {
		if p == "" || p[0] < '0' || p[0] > '9' || strings.ContainsAny(p, "_oObB") && !isHex(p) {
			return netip.Addr{}, false
		}
		n, err := strconv.ParseUint(p, 0, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		if n >= 1<<bits {
			return netip.Addr{}, false
		}
		value = value<<bits | n
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(value))
	return netip.AddrFrom4(b), true
}

func isHex(p string) bool {
	return (strings.HasPrefix(p, "0x") || strings.HasPrefix(p, "0X")) && !strings.ContainsAny(p, "_oO")
}

// zoneOf returns the number of the interface that an address names, 0 if none.
func zoneOf(addr netip.Addr) uint32 {
	if n, err := strconv.ParseUint(addr.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(addr.Zone()); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// sockaddrOf returns a struct sockaddr_in or sockaddr_in6.
func sockaddrOf(addr netip.Addr, port uint16) []byte {
	if addr.Is4() {
		// family (2), port (2, network order), address (4), zero (8)
		sa := make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(sa, unix.AF_INET)
		binary.BigEndian.PutUint16(sa[2:], port)
		copy(sa[4:], addr.AsSlice())
		return sa
	}
	// family (2), port (2, network order), flow (4), address (16), scope (4)
	sa := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(sa, unix.AF_INET6)
	binary.BigEndian.PutUint16(sa[2:], port)
	copy(sa[8:], addr.AsSlice())
	binary.NativeEndian.PutUint32(sa[24:], zoneOf(addr))
	return sa
}

// parseSockaddr reads one. A scope becomes the name of its interface if there is
// such a one.
func parseSockaddr(sa []byte) (netip.AddrPort, bool) {
	if len(sa) < 2 {
		return netip.AddrPort{}, false
	}
	switch family := binary.NativeEndian.Uint16(sa); {
	case family == unix.AF_INET && len(sa) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), binary.BigEndian.Uint16(sa[2:])), true
	case family == unix.AF_INET6 && len(sa) >= unix.SizeofSockaddrInet6:
		addr := netip.AddrFrom16([16]byte(sa[8:24]))
		if scope := binary.NativeEndian.Uint32(sa[24:]); scope != 0 {
			zone := strconv.FormatUint(uint64(scope), 10)
			if i, err := net.InterfaceByIndex(int(scope)); err == nil && addr.IsLinkLocalUnicast() {
				zone = i.Name
			}
			addr = addr.WithZone(zone)
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(sa[2:])), true
	}
	return netip.AddrPort{}, false
}
