package packet

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of the protocols that matter here (IANA, protocol-numbers).
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58

	protoHopByHop    = 0
	protoRouting     = 43
	protoFragment    = 44
	protoAuth        = 51
	protoNone        = 59
	protoDestination = 60
	protoMobility    = 135
	protoHIP         = 139
	protoShim6       = 140
	protoDCCP        = 33
	protoSCTP        = 132
	protoUDPLite     = 136
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20
	udpHeaderLen  = 8
)

// Version returns 4 or 6 if pkt begins with a complete IPv4 header (options
// not counted) or IPv6 fixed header, 0 if it is anything else.
func Version(pkt []byte) int {
	switch {
	case len(pkt) >= ipv4HeaderLen && pkt[0]>>4 == 4:
		return 4
	case len(pkt) >= ipv6HeaderLen && pkt[0]>>4 == 6:
		return 6
	}
	return 0
}

// addresses returns both addresses of the packet, whose fixed header is complete.
func addresses(pkt []byte) []byte {
	if pkt[0]>>4 == 4 {
		return pkt[12:ipv4HeaderLen]
	}
	return pkt[8:ipv6HeaderLen]
}

// Src returns the source address of an IP packet.
func Src(pkt []byte) (netip.Addr, bool) {
	switch Version(pkt) {
	case 4:
		return netip.AddrFrom4([4]byte(pkt[12:16])), true
	case 6:
		return netip.AddrFrom16([16]byte(pkt[8:24])), true
	}
	return netip.Addr{}, false
}

// Dst returns the destination address of an IP packet.
func Dst(pkt []byte) (netip.Addr, bool) {
	switch Version(pkt) {
	case 4:
		return netip.AddrFrom4([4]byte(pkt[16:20])), true
	case 6:
		return netip.AddrFrom16([16]byte(pkt[24:40])), true
	}
	return netip.Addr{}, false
}

// Len returns the length in bytes that the IP header states for the whole
// packet: what lies behind it in pkt is padding. It returns 0 if pkt has no
// complete IP header, states less than its own header, or is cut off.
func Len(pkt []byte) int {
	n, least := 0, 0
	switch Version(pkt) {
	case 4:
		n, least = int(binary.BigEndian.Uint16(pkt[2:])), max(int(pkt[0]&15)*4, ipv4HeaderLen)
	case 6:
		n, least = ipv6HeaderLen+int(binary.BigEndian.Uint16(pkt[4:])), ipv6HeaderLen
	}
	if n < least || n > len(pkt) {
		return 0
	}
	return n
}

// A TransportHeader says what an IP packet carries.
type TransportHeader struct {
	Proto    uint8  // protocol behind the IP header and IPv6's extension headers
	Fragment bool   // the packet is a part of a larger one
	Later    bool   // … and not the first: there is no transport header
	Offset   int    // where the transport header (or the fragment's data) begins
	SrcPort  uint16 // of TCP, UDP, UDP-Lite, SCTP and DCCP; else 0
	DstPort  uint16
	ICMPType uint8 // of ICMP and ICMPv6; else 0
}

// Transport walks over IPv4 options or IPv6 extension headers (RFC 8200 §4) and
// returns what is behind them. It reports false if the packet is malformed or
// cut off before the ports, or before ICMP's type. It allocates nothing.
func Transport(pkt []byte) (t TransportHeader, ok bool) {
	switch Version(pkt) {
	case 4:
		t.Offset = int(pkt[0]&15) * 4
		t.Proto = pkt[9]
		frag := binary.BigEndian.Uint16(pkt[6:])
		t.Fragment = frag&0x3fff != 0 // MF or an offset
		t.Later = frag&0x1fff != 0
		if t.Offset < ipv4HeaderLen || t.Offset > len(pkt) {
			return t, false
		}
	case 6:
		if !t.skipExtensions(pkt) {
			return t, false
		}
	default:
		return t, false
	}
	if t.Later {
		return t, true
	}
	switch rest := pkt[t.Offset:]; t.Proto {
	case ProtoTCP, ProtoUDP, protoUDPLite, protoSCTP, protoDCCP:
		if len(rest) < 4 {
			return t, false
		}
		t.SrcPort = binary.BigEndian.Uint16(rest)
		t.DstPort = binary.BigEndian.Uint16(rest[2:])
	case ProtoICMP, ProtoICMPv6:
		if len(rest) < 1 {
			return t, false
		}
		t.ICMPType = rest[0]
	}
	return t, true
}

// skipExtensions finds the protocol behind IPv6's extension headers. Each one
// is at least 8 bytes long, so a packet bounds the loop.
func (t *TransportHeader) skipExtensions(pkt []byte) bool {
	t.Proto, t.Offset = pkt[6], ipv6HeaderLen
	for {
		rest := pkt[t.Offset:]
		var n int
		switch t.Proto {
		case protoHopByHop, protoRouting, protoDestination, protoMobility, protoHIP, protoShim6:
			if len(rest) < 8 {
				return false
			}
			n = (int(rest[1]) + 1) * 8
		case protoAuth: // RFC 4302 §2.2: in 4-byte units, minus 2
			if len(rest) < 8 {
				return false
			}
			n = (int(rest[1]) + 2) * 4
		case protoFragment:
			if len(rest) < 8 {
				return false
			}
			n = 8
			frag := binary.BigEndian.Uint16(rest[2:])
			// An atomic fragment (RFC 6946) is no part of anything.
			t.Fragment = t.Fragment || frag&^6 != 0
			t.Later = t.Later || frag&^7 != 0
		default:
			return true
		}
		if n > len(rest) {
			return false
		}
		t.Proto, t.Offset = rest[0], t.Offset+n
		if t.Later {
			return true // what follows belongs to the first fragment
		}
	}
}
