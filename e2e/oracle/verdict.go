package oracle

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// isInnocent reports whether p, which is not a datagram of the tunnel, is a
// consequence of one: the kernel asks for the link address of the next hop, or
// says that nobody listens on a port of the tunnel, or a large datagram went in
// fragments.
func (o *Oracle) isInnocent(p packet) bool {
	switch {
	case p.etherType == unix.ETH_P_ARP:
		return o.onLink(p.src.Addr()) && o.onLink(p.dst.Addr())
	case p.isNeighbour():
		return o.onLink(p.target)
	case p.protocol == unix.IPPROTO_ICMPV6 && p.kind == listenerReport:
		return reportsKernelGroups(p.payload)
	case p.later && p.protocol == unix.IPPROTO_UDP:
		return o.isEndpoint(p.src.Addr()) || o.isEndpoint(p.dst.Addr())
	case p.isUnreachable():
		quoted := parse(p.etherType, p.payload)
		return quoted.protocol == unix.IPPROTO_UDP &&
			(slices.Contains(o.endpoints, quoted.src) || slices.Contains(o.endpoints, quoted.dst))
	}
	return false
}

// listenerReport is the ICMPv6 type of a report of multicast groups: RFC 9777
// §5.2.
const listenerReport = 143

// reportsKernelGroups reports whether all groups of a report are those that the
// kernel joins by itself when an interface gets an address: solicited nodes, all
// nodes, all routers. b starts behind the first eight bytes of the message.
func reportsKernelGroups(b []byte) bool {
	// Records: type (1), length of auxiliary data (1), sources (2), group (16), …
	const record = 20
	if len(b) < record || len(b)%record != 0 {
		return false
	}
	solicited := netip.MustParsePrefix("ff02::1:ff00:0/104")
	for ; len(b) > 0; b = b[record:] {
		if b[1] != 0 || b[2] != 0 || b[3] != 0 {
			return false // auxiliary data or sources: not the kernel's
		}
		g := netip.AddrFrom16([16]byte(b[4:record]))
		all := g == netip.IPv6LinkLocalAllNodes() || g == netip.IPv6LinkLocalAllRouters()
		if !all && !solicited.Contains(g) {
			return false
		}
	}
	return true
}

// isUnreachable reports whether p is a destination-unreachable or packet-too-big
// error: RFC 792, RFC 4443 §3.
func (p *packet) isUnreachable() bool {
	switch p.protocol {
	case unix.IPPROTO_ICMP:
		return p.kind == 3
	case unix.IPPROTO_ICMPV6:
		return p.kind == 1 || p.kind == 2
	}
	return false
}

// isAllowedDNS reports whether p is a DNS message to or from a nameserver that
// was allowed.
func (o *Oracle) isAllowedDNS(p packet) bool {
	if p.protocol != unix.IPPROTO_UDP && p.protocol != unix.IPPROTO_TCP {
		return false
	}
	at := func(a netip.AddrPort) bool { return a.Port() == 53 && slices.Contains(o.dns, a.Addr()) }
	return at(p.src) || at(p.dst)
}

// isEndpoint reports whether a is the address of one of the tunnel's far ends.
func (o *Oracle) isEndpoint(a netip.Addr) bool {
	return slices.ContainsFunc(o.endpoints, func(e netip.AddrPort) bool { return e.Addr() == a })
}

// onLink reports whether a is on one link with an endpoint or an allowed
// nameserver: the lab's links are /24 and /64.
func (o *Oracle) onLink(a netip.Addr) bool {
	near := func(b netip.Addr) bool {
		bits := 24
		if b.Is6() {
			bits = 64
		}
		p, err := b.Prefix(bits)
		return err == nil && p.Contains(a)
	}
	return slices.ContainsFunc(o.endpoints, func(e netip.AddrPort) bool { return near(e.Addr()) }) ||
		slices.ContainsFunc(o.dns, near)
}
