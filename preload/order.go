package preload

import (
	"net/netip"
	"slices"
)

// sort puts addresses in the order in which to try them, RFC 6724 as far as it
// depends on the addresses of the tunnel: those of a family that the program does
// not have come last (rule 1), an IPv6 address that is reached from a unique local
// one comes after IPv4 (rule 5), else IPv6 comes first (rule 6). Of one family the
// order is that of the answer.
func (s *Server) sort(addrs []netip.Addr) {
	has4, has6 := s.speaks(netip.Addr.Is4), s.speaks(netip.Addr.Is6)
	global6 := s.speaks(func(a netip.Addr) bool { return a.Is6() && !a.IsPrivate() })
	rank := func(a netip.Addr) int {
		switch {
		case a.IsLoopback() && a.Is6():
			return 0
		case a.IsLoopback():
			return 1
		case a.Is6() && !has6, a.Is4() && !has4:
			return 5
		case a.Is4():
			return 3
		case global6 || a.IsPrivate():
			return 2
		}
		return 4
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return rank(a) - rank(b) })
}
