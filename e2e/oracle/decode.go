package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// A packet is what the oracle understands of one. Fields that a packet has not,
// or that were cut off, are zero.
type packet struct {
	etherType uint16
	src, dst  netip.AddrPort // ports of TCP and UDP; ARP has its addresses here too
	protocol  uint8          // of the layer above IP
	later     bool           // a fragment but the first: payload is not a header
	kind      uint8          // ICMP type
	flags     uint8          // TCP flags
	payload   []byte         // behind the transport header
	target    netip.Addr     // of a neighbour solicitation or advertisement
	size      int
}

// parse reads a packet that starts with the header above Ethernet's.
func parse(etherType uint16, b []byte) packet {
	p := packet{etherType: etherType, size: len(b)}
	switch {
	case etherType == unix.ETH_P_ARP && len(b) >= 28:
		// RFC 826: …, sender hardware (6), sender address (4), target hardware (6), target address (4).
		p.src, p.dst = addrPort(b[14:18], 0), addrPort(b[24:28], 0)
	case etherType == unix.ETH_P_IP && len(b) >= 20 && len(b) >= int(b[0]&15)*4:
		p.src, p.dst, p.protocol = addrPort(b[v4Src:v4Dst], 0), addrPort(b[v4Dst:20], 0), b[v4Protocol]
		p.later = binary.BigEndian.Uint16(b[v4Fragment:])&0x1fff != 0
		p.transport(b[int(b[0]&15)*4:])
	case etherType == unix.ETH_P_IPV6 && len(b) >= v6Len:
		p.src, p.dst = addrPort(b[v6Src:v6Dst], 0), addrPort(b[v6Dst:v6Len], 0)
		p.protocol = b[v6NextHeader]
		p.transport(p.extensions(b[v6Len:]))
	}
	return p
}

// extensions skips the extension headers of IPv6 that the kernel writes:
// RFC 8200 §4.
func (p *packet) extensions(b []byte) []byte {
	const hopByHop, fragment = 0, 44
	for len(b) >= 8 && (p.protocol == hopByHop || p.protocol == fragment) {
		size := 8
		if p.protocol == hopByHop {
			size += int(b[1]) * 8
		} else {
			p.later = binary.BigEndian.Uint16(b[2:])&^7 != 0
		}
		if len(b) < size {
			return nil
		}
		p.protocol, b = b[0], b[size:]
	}
	return b
}

func (p *packet) transport(b []byte) {
	if p.later {
		return
	}
	switch {
	case p.protocol == unix.IPPROTO_UDP && len(b) >= 8:
		p.ports(b)
		p.payload = b[8:]
	case p.protocol == unix.IPPROTO_TCP && len(b) >= 20:
		p.ports(b)
		p.flags = b[13]
		if n := int(b[12]>>4) * 4; n <= len(b) {
			p.payload = b[n:]
		}
	case (p.protocol == unix.IPPROTO_ICMP || p.protocol == unix.IPPROTO_ICMPV6) && len(b) >= 8:
		p.kind, p.payload = b[0], b[8:]
		if p.isNeighbour() && len(b) >= 24 {
			p.target = netip.AddrFrom16([16]byte(b[8:24]))
		}
	}
}

func (p *packet) ports(b []byte) {
	p.src = netip.AddrPortFrom(p.src.Addr(), binary.BigEndian.Uint16(b))
	p.dst = netip.AddrPortFrom(p.dst.Addr(), binary.BigEndian.Uint16(b[2:]))
}

// isNeighbour reports whether p is a neighbour solicitation or advertisement:
// RFC 4861 §4.3, §4.4.
func (p *packet) isNeighbour() bool {
	return p.protocol == unix.IPPROTO_ICMPV6 && (p.kind == 135 || p.kind == 136)
}

// question returns what a DNS message asks, "NAME TYPE", or "".
func (p *packet) question() string {
	b := p.payload
	if p.protocol == unix.IPPROTO_TCP && len(b) > 2 {
		b = b[2:] // RFC 1035 §4.2.2: a length first
	}
	var parser dnsmessage.Parser
	if _, err := parser.Start(b); err != nil {
		return ""
	}
	q, err := parser.Question()
	if err != nil {
		return ""
	}
	return q.Name.String() + " " + q.Type.String()
}

func (p packet) String() string {
	switch {
	case p.etherType == unix.ETH_P_ARP:
		return fmt.Sprintf("ARP %v asks for %v", p.src.Addr(), p.dst.Addr())
	case p.etherType != unix.ETH_P_IP && p.etherType != unix.ETH_P_IPV6:
		return fmt.Sprintf("ethertype %#04x, %d bytes", p.etherType, p.size)
	case p.later:
		return fmt.Sprintf("fragment of protocol %d %v → %v, %d bytes", p.protocol, p.src.Addr(), p.dst.Addr(), p.size)
	}
	switch p.protocol {
	case unix.IPPROTO_UDP:
		s := fmt.Sprintf("UDP %v → %v, %d bytes", p.src, p.dst, len(p.payload))
		if p.src.Port() == 53 || p.dst.Port() == 53 {
			s += ", DNS " + p.question()
		}
		return s
	case unix.IPPROTO_TCP:
		return fmt.Sprintf("TCP %v → %v, flags %#02x, %d bytes", p.src, p.dst, p.flags, len(p.payload))
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		return fmt.Sprintf("ICMP type %d %v → %v", p.kind, p.src.Addr(), p.dst.Addr())
	}
	return fmt.Sprintf("IP protocol %d %v → %v, %d bytes", p.protocol, p.src.Addr(), p.dst.Addr(), p.size)
}

// addrPort returns an address of 4 or 16 bytes with a port.
func addrPort(b []byte, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, port)
}
