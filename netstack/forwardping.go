package netstack

import (
	"encoding/binary"
	"net/netip"

	"adit/packet"
)

// A PingRequest is an echo request of a peer to an address that is not the
// gateway's own.
type PingRequest struct {
	Source, Destination netip.Addr
	Message             []byte // ICMP or ICMPv6, from the type on
	g                   *Gateway
}

// Reply sends msg, an ICMP or ICMPv6 message from its type on, to the source
// of the request as if its destination had answered. The checksum is filled in.
func (r PingRequest) Reply(msg []byte) {
	if len(msg) < icmpHeaderLen {
		return
	}
	proto := uint8(protoICMP)
	if r.Source.Is6() {
		proto = protoICMPv6
	}
	pkt, icmp := newPacket(r.Destination, r.Source, proto, len(msg))
	if len(pkt) > r.g.s.mtu {
		return // it was asked in fragments, or by someone who expects none
	}
	copy(icmp, msg)
	icmp[2], icmp[3] = 0, 0
	sum := uint64(0)
	if proto == protoICMPv6 {
		sum = packet.PseudoSum(r.Destination, r.Source, proto, len(msg))
	}
	binary.BigEndian.PutUint16(icmp[2:], ^packet.Fold(packet.Sum(sum, icmp)))
	r.g.s.link.send(pkt)
}

// newPacket returns an IP packet from src to dst with n bytes of payload, which
// are zero, and the payload in it.
func newPacket(src, dst netip.Addr, proto uint8, n int) (pkt, payload []byte) {
	if src.Is4() {
		pkt = make([]byte, ipv4HeaderLen+n)
		pkt[0], pkt[8], pkt[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		s, d := src.As4(), dst.As4()
		copy(pkt[12:], s[:])
		copy(pkt[16:], d[:])
		binary.BigEndian.PutUint16(pkt[10:], ^packet.Fold(packet.Sum(0, pkt[:ipv4HeaderLen])))
		return pkt, pkt[ipv4HeaderLen:]
	}
	pkt = make([]byte, ipv6HeaderLen+n)
	pkt[0], pkt[6], pkt[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(pkt[4:], uint16(n))
	s, d := src.As16(), dst.As16()
	copy(pkt[8:], s[:])
	copy(pkt[24:], d[:])
	return pkt, pkt[ipv6HeaderLen:]
}
