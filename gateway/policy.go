package gateway

import (
	"fmt"
	"net/netip"
	"syscall"
)

// errForbidden is what peers are told: a router says "administratively
// prohibited", which their kernels turn into EHOSTUNREACH or EACCES.
var errForbidden = fmt.Errorf("not through this gateway: %w", syscall.EACCES)

// forbidden is where no peer comes, whatever is behind the gateway. Loopback,
// link-local and multicast addresses are known to netip.
var forbidden = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),   // RFC 1122 §3.2.1.3; connect(2) to 0.0.0.0 goes to 127.0.0.1
	netip.MustParsePrefix("240.0.0.0/4"), // RFC 1112 §4, and broadcast
	netip.MustParsePrefix("::/96"),       // IPv4 in IPv6, deprecated: RFC 4291 §2.5.5.1

	// Clouds answer here who the host is and what it may do, to whoever asks
	// from it. Most use 169.254.169.254, which is link-local; some these.
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("fd20:ce::254/128"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
}

// permit returns errForbidden if no peer may reach dst through the host. The
// gateway's own addresses never come here: netstack answers for them.
func (x *exit) permit(dst netip.Addr) error {
	for _, addr := range meanings(dst) {
		if addr.IsLoopback() || addr.IsUnspecified() || addr.IsLinkLocalUnicast() || addr.IsMulticast() ||
			within(addr, forbidden) || within(addr, x.own) { // peers do not reach each other
			return errForbidden
		}
	}
	return nil
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

var (
	nat64   = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1
	sixToIV = netip.MustParsePrefix("2002::/16")    // RFC 3056 §2
)

// meanings returns dst, and the IPv4 address in it that a socket or a translator
// on the way takes it for.
func meanings(dst netip.Addr) []netip.Addr {
	dst = dst.Unmap() // ::ffff:127.0.0.1 is 127.0.0.1 to a socket
	b := dst.As16()
	switch {
	case nat64.Contains(dst):
		return []netip.Addr{dst, netip.AddrFrom4([4]byte(b[12:]))}
	case sixToIV.Contains(dst):
		return []netip.Addr{dst, netip.AddrFrom4([4]byte(b[2:]))}
	}
	return []netip.Addr{dst}
}
