package gateway

import (
	"fmt"
	"net/netip"
	"syscall"
)

// errForbidden is what peers are told: a router says "administratively
// prohibited", which their kernels turn into EHOSTUNREACH or EACCES.
var errForbidden = fmt.Errorf("not through this gateway: %w", syscall.EACCES)

// permit returns errForbidden if no peer may reach dst through the host. The
// gateway's own addresses never come here: netstack answers for them.
func (x *exit) permit(dst netip.Addr) error {
	// ::ffff:127.0.0.1 is 127.0.0.1 to a socket.
	dst = dst.Unmap()
	switch {
	case dst.IsLoopback(),
		dst.IsUnspecified(), thisNetwork.Contains(dst), // connect(2) to 0.0.0.0 goes to 127.0.0.1
		dst.IsLinkLocalUnicast(), // 169.254.169.254 among them
		dst.IsMulticast(), reserved.Contains(dst),
		compatible.Contains(dst):
		return errForbidden
	}
	for _, p := range x.own { // peers do not reach each other
		if p.Contains(dst) {
			return errForbidden
		}
	}
	return nil
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 1122 §3.2.1.3
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112 §4, and broadcast
	compatible  = netip.MustParsePrefix("::/96")       // IPv4 in IPv6, deprecated: RFC 4291 §2.5.5.1
)
