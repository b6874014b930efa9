package packet

import (
	"encoding/binary"
	"net/netip"
)

// Codes of ICMP "destination unreachable" (RFC 792, RFC 1122 §3.2.2.1, RFC 1812
// §5.2.7.1) and of its ICMPv6 counterpart (RFC 4443 §3.1).
const (
	UnreachNet        = 0
	UnreachHost       = 1
	UnreachProtocol   = 2
	UnreachPort       = 3
	UnreachProhibited = 13

	UnreachNoRoute6    = 0
	UnreachProhibited6 = 1
	UnreachAddress6    = 3
	UnreachPort6       = 4
)

const (
	icmpHeaderLen = 8

	// MaxUnreachable is the most bytes that AppendUnreachable and
	// AppendTooBig add.
	MaxUnreachable = 1280

	maxUnreachable4 = 576 // RFC 1812 §4.3.2.3
)

// AppendUnreachable appends to dst the ICMP or ICMPv6 packet that tells the
// sender of pkt that its destination cannot be reached, and returns the
// result. The code is one of the family that pkt belongs to. The error comes
// from the address from; if that is not of pkt's family, from the destination
// itself. Nothing is appended if no error may be sent about pkt: it is
// malformed, an ICMP error itself, a later fragment, or one of its addresses is
// not that of one host (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
func AppendUnreachable(dst, pkt []byte, from netip.Addr, code uint8) []byte {
	if Version(pkt) == 4 {
		return appendError(dst, pkt, from, 3, code, 0)
	}
	return appendError(dst, pkt, from, 1, code, 0)
}

// AppendTooBig appends to dst the packet that tells the sender of pkt that
// packets of more than mtu bytes do not get through: ICMP "fragmentation
// needed" (RFC 1191 §4) or ICMPv6 "packet too big" (RFC 4443 §3.2). See
// AppendUnreachable for from and for when nothing is appended.
func AppendTooBig(dst, pkt []byte, from netip.Addr, mtu int) []byte {
	if Version(pkt) == 4 {
		return appendError(dst, pkt, from, 3, 4, uint32(min(mtu, 65535)))
	}
	return appendError(dst, pkt, from, 2, 0, uint32(mtu))
}

// appendError builds an ICMP error about pkt; rest is the second word of the
// ICMP header.
func appendError(dst, pkt []byte, from netip.Addr, typ, code uint8, rest uint32) []byte {
	if !mayComplain(pkt) {
		return dst
	}
	to, _ := Src(pkt)
	if from.Unmap().Is4() != to.Is4() || !from.IsValid() {
		from, _ = Dst(pkt)
	}
	hdr, most := ipv6HeaderLen, MaxUnreachable
	if to.Is4() {
		hdr, most = ipv4HeaderLen, maxUnreachable4
	}
	quoted := min(len(pkt), most-hdr-icmpHeaderLen)
	start := len(dst)
	dst = append(dst, make([]byte, hdr+icmpHeaderLen)...)
	dst = append(dst, pkt[:quoted]...)
	out := dst[start:]
	icmp := out[hdr:]
	icmp[0], icmp[1] = typ, code
	binary.BigEndian.PutUint32(icmp[4:], rest)
	if to.Is4() {
		out[0] = 0x45
		out[1] = 0xc0 // RFC 1812 §4.3.2.5: precedence "internetwork control"
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		out[8], out[9] = 64, ProtoICMP
		s, d := from.Unmap().As4(), to.As4()
		copy(out[12:], s[:])
		copy(out[16:], d[:])
		setIPv4Checksum(out[:hdr])
		binary.BigEndian.PutUint16(icmp[2:], ^Fold(Sum(0, icmp)))
		return dst
	}
	out[0] = 0x60
	binary.BigEndian.PutUint16(out[4:], uint16(len(icmp)))
	out[6], out[7] = ProtoICMPv6, 64
	s, d := from.As16(), to.As16()
	copy(out[8:], s[:])
	copy(out[24:], d[:])
	binary.BigEndian.PutUint16(icmp[2:], ^Fold(Sum(PseudoSum(from, to, ProtoICMPv6, len(icmp)), icmp)))
	return dst
}

// mayComplain reports whether an ICMP error about pkt may be sent at all.
func mayComplain(pkt []byte) bool {
	src, ok := Src(pkt)
	dst, _ := Dst(pkt)
	if !ok || !isHost(src) || dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return false
	}
	t, ok := Transport(pkt)
	if !ok || t.Later {
		return false
	}
	switch {
	case src.Is4() && t.Proto == ProtoICMP:
		// Only queries may be complained about: echo, timestamp.
		return t.ICMPType == 8 || t.ICMPType == 0 || t.ICMPType == 13 || t.ICMPType == 14
	case src.Is6() && t.Proto == ProtoICMPv6:
		// RFC 4443 §2.1: errors have the high bit clear; 137 is a redirect.
		return t.ICMPType >= 128 && t.ICMPType != 137
	}
	return true
}

// isHost reports whether a may be the source of a packet that gets an answer:
// not the address of nobody or of a group, nor, in IPv4, of the zero network or
// class E, which broadcast is in (RFC 1122 §3.2.2).
func isHost(a netip.Addr) bool {
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first < 224
	}
	return !a.IsUnspecified() && !a.IsMulticast()
}
