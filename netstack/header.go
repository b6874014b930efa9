package netstack

import (
	"encoding/binary"
	"net/netip"

	"adit/packet"
)

// Protocol numbers, https://www.iana.org/assignments/protocol-numbers.
const (
	protoICMP   = packet.ProtoICMP
	protoTCP    = packet.ProtoTCP
	protoUDP    = packet.ProtoUDP
	protoICMPv6 = packet.ProtoICMPv6
	protoSCTP   = 132
)

const (
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20
	udpHeaderLen  = 8
)

// Flags of the TCP header's byte 13, RFC 9293 §3.1.
const (
	tcpSYN = 1 << 1
	tcpACK = 1 << 4
)

// A header is what the router's rules need to know of a packet.
type header struct {
	packet.TransportHeader
	src, dst netip.Addr
	payload  []byte // of the IP packet, from TransportHeader.Offset on
}

// parse fills h from an IP packet. It reports false for what is no well-formed
// IP packet. Bytes behind the length that the packet states are left out.
func (h *header) parse(pkt []byte) bool {
	n := packet.Len(pkt)
	return n != 0 && h.parseQuoted(pkt[:n])
}

// parseQuoted fills h from the packet that an ICMP error quotes: its head, cut
// short at any place behind the first eight bytes of its payload (RFC 792).
func (h *header) parseQuoted(pkt []byte) bool {
	var ok bool
	if h.TransportHeader, ok = packet.Transport(pkt); !ok {
		return false
	}
	h.src, _ = packet.Src(pkt)
	h.dst, _ = packet.Dst(pkt)
	h.payload = pkt[h.Offset:]
	return true
}

// turn makes of h the header of an answer to it.
func (h *header) turn() {
	h.src, h.dst = h.dst, h.src
	h.SrcPort, h.DstPort = h.DstPort, h.SrcPort
}

// isTCPOpening reports whether h is a TCP segment that asks for a connection:
// SYN without ACK, whatever else is set.
func (h *header) isTCPOpening() bool {
	return len(h.payload) > 13 && h.payload[13]&(tcpSYN|tcpACK) == tcpSYN
}

// coversTCPFlags reports whether a later fragment of an IPv4 packet lies over
// the TCP header that its first fragment showed: RFC 3128. Of IPv6 the receiver
// drops what overlaps (RFC 5722).
func coversTCPFlags(pkt []byte) bool {
	return pkt[0]>>4 == 4 && int(binary.BigEndian.Uint16(pkt[6:])&0x1fff)*8 < tcpHeaderLen
}
