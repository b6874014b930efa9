package tap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// A Packet is one packet on the cable. Fields that it has not are zero.
type Packet struct {
	At  time.Time
	Out bool // sent by the tapped interface; else received

	EtherType uint16
	Protocol  uint8          // of the layer above IP
	Src, Dst  netip.AddrPort // ports of UDP and TCP
	TOS       uint8          // RFC 2474: DSCP in the upper six bits, ECN in the lower two
	TTL       uint8          // or hop limit
	FlowLabel uint32         // of IPv6
	Fragment  bool           // part of a packet; only the first has ports
	Payload   []byte         // behind the header of UDP
	Raw       []byte         // all of it, from the IP header on
}

// ECN and DSCP are the two parts of the outer traffic class.
func (p *Packet) ECN() uint8  { return p.TOS & 3 }
func (p *Packet) DSCP() uint8 { return p.TOS &^ 3 }

// parse reads a packet that starts with the header above Ethernet's: RFC 791
// §3.1, RFC 8200 §3, RFC 768.
func parse(etherType uint16, b []byte) Packet {
	p := Packet{EtherType: etherType, Raw: b}
	var src, dst netip.Addr
	switch {
	case etherType == unix.ETH_P_IP && len(b) >= 20 && len(b) >= int(b[0]&15)*4:
		p.TOS, p.TTL, p.Protocol = b[1], b[8], b[9]
		p.Fragment = binary.BigEndian.Uint16(b[6:])&0x3fff != 0
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[int(b[0]&15)*4:]
	case etherType == unix.ETH_P_IPV6 && len(b) >= 40:
		first := binary.BigEndian.Uint32(b)
		p.TOS, p.FlowLabel = uint8(first>>20), first&0xfffff
		p.Protocol, p.TTL = b[6], b[7]
		const fragmentHeader = 44
		p.Fragment = p.Protocol == fragmentHeader
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
	default:
		return p
	}
	var from, to uint16
	if (p.Protocol == unix.IPPROTO_UDP || p.Protocol == unix.IPPROTO_TCP) && !p.Fragment && len(b) >= 8 {
		from, to = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	if p.Protocol == unix.IPPROTO_UDP && !p.Fragment && len(b) >= 8 {
		if size := int(binary.BigEndian.Uint16(b[4:])); size >= 8 && size <= len(b) {
			p.Payload = b[8:size]
		}
	}
	return p
}

// Unreachable returns the datagram that p complains about, if p says that nobody
// listens at its port: RFC 792, RFC 4443 §3.1. Of that the payload may be cut.
func (p *Packet) Unreachable() (about Packet, ok bool) {
	const icmpHeader = 8
	switch {
	case p.EtherType == unix.ETH_P_IP && p.Protocol == unix.IPPROTO_ICMP && len(p.Raw) > 20+icmpHeader && p.Raw[20] == 3 && p.Raw[21] == 3:
		return parse(p.EtherType, p.Raw[20+icmpHeader:]), true
	case p.EtherType == unix.ETH_P_IPV6 && p.Protocol == unix.IPPROTO_ICMPV6 && len(p.Raw) > 40+icmpHeader && p.Raw[40] == 1 && p.Raw[41] == 4:
		return parse(p.EtherType, p.Raw[40+icmpHeader:]), true
	}
	return about, false
}

// String says it in a line.
func (p Packet) String() string {
	way := "in"
	if p.Out {
		way = "out"
	}
	at := p.At.Format("15:04:05.000")
	if m, ok := p.Message(); ok {
		return fmt.Sprintf("%s %s %v → %v %v", at, way, p.Src, p.Dst, m)
	}
	return fmt.Sprintf("%s %s %v → %v ethertype %#04x protocol %d, %d bytes: %x", at, way, p.Src, p.Dst, p.EtherType, p.Protocol, len(p.Raw), p.Raw[:min(64, len(p.Raw))])
}
