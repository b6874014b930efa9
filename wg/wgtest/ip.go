package wgtest

import (
	"encoding/binary"
	"net/netip"
)

// UDP returns an IPv4 or IPv6 packet of size bytes, which is made of a header,
// a UDP header without checksum, and payload, cut or filled with zeros. The
// addresses are of one family. size is at least 28, or 48 for IPv6.
func UDP(src, dst netip.AddrPort, size int, payload []byte) []byte {
	b := make([]byte, size)
	var udp []byte
	if src.Addr().Is4() {
		s, d := src.Addr().As4(), dst.Addr().As4()
		b[0], b[8], b[9] = 0x45, 64, 17
		binary.BigEndian.PutUint16(b[2:], uint16(size))
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		binary.BigEndian.PutUint16(b[10:], Checksum(b[:20]))
		udp = b[20:]
	} else {
		s, d := src.Addr().As16(), dst.Addr().As16()
		b[0], b[6], b[7] = 0x60, 17, 64
		binary.BigEndian.PutUint16(b[4:], uint16(size-40))
		copy(b[8:], s[:])
		copy(b[24:], d[:])
		udp = b[40:]
	}
	binary.BigEndian.PutUint16(udp, src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[8:], payload)
	return b
}

// Checksum returns the Internet checksum of b (RFC 1071): 0 if b contains a
// right one.
func Checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
