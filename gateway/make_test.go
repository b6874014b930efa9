package gateway

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"adit/packet"
)

// makeIP returns an IP packet with a transport checksum at sumAt in payload.
func makeIP(src, dst string, proto byte, payload []byte, sumAt int) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	payload = slices.Clone(payload)
	binary.BigEndian.PutUint16(payload[sumAt:], ^packet.Fold(packet.Sum(packet.PseudoSum(s, d, proto, len(payload)), payload)))
	if s.Is4() {
		pkt := make([]byte, 20)
		pkt[0], pkt[8], pkt[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(pkt[2:], uint16(20+len(payload)))
		copy(pkt[12:], s.AsSlice())
		copy(pkt[16:], d.AsSlice())
		binary.BigEndian.PutUint16(pkt[10:], ^packet.Fold(packet.Sum(0, pkt)))
		return append(pkt, payload...)
	}
	pkt := make([]byte, 40)
	pkt[0], pkt[6], pkt[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(payload)))
	copy(pkt[8:], s.AsSlice())
	copy(pkt[24:], d.AsSlice())
	return append(pkt, payload...)
}

func makeSYN(src, dst string, port uint16) []byte {
	p := make([]byte, 20)
	binary.BigEndian.PutUint16(p, 40000)
	binary.BigEndian.PutUint16(p[2:], port)
	p[12], p[13] = 5<<4, 2
	binary.BigEndian.PutUint16(p[14:], 65535)
	return makeIP(src, dst, packet.ProtoTCP, p, 16)
}

func makeDatagram(src, dst string, port uint16) []byte {
	p := make([]byte, 12)
	binary.BigEndian.PutUint16(p, 40000)
	binary.BigEndian.PutUint16(p[2:], port)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)))
	return makeIP(src, dst, packet.ProtoUDP, p, 6)
}

// answerA answers any question for one name with 198.51.100.7.
func answerA(question []byte) []byte {
	a := slices.Clone(question)
	a[2], a[3] = 0x81, 0x80
	a[7] = 1
	return append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 198, 51, 100, 7)
}
