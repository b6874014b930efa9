package wg

import "encoding/binary"

// The ECN field, RFC 3168 §5.
const (
	ecnNotECT = 0
	ecnECT1   = 1
	ecnECT0   = 2
	ecnCE     = 3

	ecnMask = 3 // of the traffic class
)

// handshakeTOS is the traffic class of initiations and responses: DSCP AF41, so
// that they come through where data queues (messages.h, HANDSHAKE_DSCP). Data has
// DSCP 0, for the class of a packet inside is nobody's business outside.
const handshakeTOS = 0x88

// innerECN returns the ECN field of an IP packet, whose version was checked.
func innerECN(pkt []byte) uint8 {
	if pkt[0]>>4 == 4 {
		return pkt[1] & 3
	}
	return pkt[1] >> 4 & 3 // traffic class: the low half of byte 0 and the high half of byte 1
}

// decapsulateECN carries the outer header's ECN field into the packet (RFC 6040
// §4.2, figure 4):
//
//	inner \ outer  Not-ECT  ECT(0)   ECT(1)   CE
//	Not-ECT        Not-ECT  Not-ECT  Not-ECT  Not-ECT
//	ECT(0)         ECT(0)   ECT(0)   ECT(1)   CE
//	ECT(1)         ECT(1)   ECT(1)   ECT(1)   CE
//	CE             CE       CE       CE       CE
//
// The RFC would drop a packet that came marked and whose ends do not understand
// marks. Linux lets it pass (receive.c does not look at what
// INET_ECN_decapsulate returns), and so do we: one router that marks everything
// must not cut off those who never asked for it.
func decapsulateECN(pkt []byte, outer uint8) {
	if outer == ecnNotECT || outer == ecnECT0 {
		return
	}
	inner := innerECN(pkt)
	if outer == ecnCE && inner != ecnNotECT && inner != ecnCE || outer == ecnECT1 && inner == ecnECT0 {
		setECN(pkt, outer)
	}
}

// setECN writes the ECN field of an IP packet, and mends an IPv4 header's
// checksum (RFC 1624 §3, equation 3).
func setECN(pkt []byte, ecn uint8) {
	if pkt[0]>>4 != 4 {
		pkt[1] = pkt[1]&^0x30 | ecn<<4
		return
	}
	before := binary.BigEndian.Uint16(pkt)
	pkt[1] = pkt[1]&^3 | ecn
	after := binary.BigEndian.Uint16(pkt)
	sum := uint32(^binary.BigEndian.Uint16(pkt[10:])) + uint32(^before) + uint32(after)
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(pkt[10:], ^uint16(sum))
}
