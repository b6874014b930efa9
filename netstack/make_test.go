package netstack

import (
	"encoding/binary"
	"net/netip"
)

// Packets for the tests. Checksums are left out where only the router looks.

func ipPacket(src, dst string, proto byte, payload []byte) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	if s.Is4() {
		pkt := make([]byte, ipv4HeaderLen, ipv4HeaderLen+len(payload))
		pkt[0] = 0x45
		binary.BigEndian.PutUint16(pkt[2:], uint16(ipv4HeaderLen+len(payload)))
		pkt[8], pkt[9] = 64, proto
		copy(pkt[12:], s.AsSlice())
		copy(pkt[16:], d.AsSlice())
		return append(pkt, payload...)
	}
	pkt := make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(payload))
	pkt[0] = 0x60
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(payload)))
	pkt[6], pkt[7] = proto, 64
	copy(pkt[8:], s.AsSlice())
	copy(pkt[24:], d.AsSlice())
	return append(pkt, payload...)
}

func tcpPacket(src, dst string, srcPort, dstPort uint16, flags byte) []byte {
	p := make([]byte, tcpHeaderLen)
	binary.BigEndian.PutUint16(p, srcPort)
	binary.BigEndian.PutUint16(p[2:], dstPort)
	p[12], p[13] = 5<<4, flags
	return ipPacket(src, dst, protoTCP, p)
}

func udpPacket(src, dst string, srcPort, dstPort uint16) []byte {
	p := make([]byte, udpHeaderLen+4)
	binary.BigEndian.PutUint16(p, srcPort)
	binary.BigEndian.PutUint16(p[2:], dstPort)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)))
	return ipPacket(src, dst, protoUDP, p)
}

func icmpPacket(src, dst string, kind, code byte, rest []byte) []byte {
	p := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, rest...)
	proto := byte(protoICMP)
	if netip.MustParseAddr(src).Is6() {
		proto = protoICMPv6
	}
	return ipPacket(src, dst, proto, p)
}

// asFragment makes of an IPv4 packet the fragment at offset (bytes).
func asFragment(pkt []byte, offset uint16, more bool) []byte {
	pkt = append([]byte(nil), pkt...)
	word := offset / 8
	if more {
		word |= 0x2000
	}
	binary.BigEndian.PutUint16(pkt[6:], word)
	return pkt
}
