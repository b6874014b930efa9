package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sum adds the bytes of b, taken as 16-bit words in network order, to the
// partial Internet checksum acc (RFC 1071). An odd last byte is padded with a
// zero, so only the last of several pieces may have an odd length. Fold turns
// the result into the 16 bits that stand in a header.
//
// The words are added in the machine's own byte order, eight bytes at a time:
// the sum of swapped words is the swapped sum (RFC 1071 §2 B), and Fold swaps
// back. A partial sum therefore means something to Fold only.
func Sum(acc uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 64 {
		x := b[:64]
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[0:]), 0)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[8:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[16:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[24:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[32:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[40:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[48:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(x[56:]), carry)
		acc, carry = bits.Add64(acc, 0, carry)
		acc += carry
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc += carry
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(last[:]), 0)
		acc += carry
	}
	return acc
}

// Fold reduces a partial sum to 16 bits, not complemented: what stands in the
// checksum field of a packet whose checksum is still to be completed. The
// finished checksum is ^Fold(acc).
func Fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], uint16(acc))
	return binary.BigEndian.Uint16(b[:])
}

// word returns v as Sum sees a 16-bit word of the packet.
func word(v uint16) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return uint64(binary.NativeEndian.Uint16(b[:]))
}

// PseudoSum returns the partial sum of the pseudo header that TCP, UDP and
// ICMPv6 checksum (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1); length is that of the
// transport header and its payload, in bytes. Both addresses are of one family.
func PseudoSum(src, dst netip.Addr, proto uint8, length int) uint64 {
	var acc uint64
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		acc = Sum(Sum(0, s[:]), d[:])
	} else {
		s, d := src.As16(), dst.As16()
		acc = Sum(Sum(0, s[:]), d[:])
	}
	return pseudo(acc, proto, length)
}

// pseudo adds protocol and length to the sum of the addresses.
func pseudo(addrs uint64, proto uint8, length int) uint64 {
	acc, carry := bits.Add64(addrs, word(uint16(proto))+word(uint16(length))+word(uint16(length>>16)), 0)
	return acc + carry
}

// addrSum returns the sum of the two addresses of the packet, whose fixed
// header is complete.
func addrSum(pkt []byte) uint64 {
	if pkt[0]>>4 == 4 {
		return Sum(0, pkt[12:20])
	}
	return Sum(0, pkt[8:40])
}

// setIPv4Checksum computes the checksum of an IPv4 header.
func setIPv4Checksum(hdr []byte) {
	hdr[10], hdr[11] = 0, 0
	binary.BigEndian.PutUint16(hdr[10:], ^Fold(Sum(0, hdr)))
}

// completeChecksum finishes the partial checksum of a packet: the field at
// start+offset holds the sum of the pseudo header, and everything from start on
// is added to it (virtio 1.2 §5.1.6.2). Zero is written as 0xffff, because in
// UDP zero means "no checksum", and elsewhere both mean the same.
// It reports whether the field lies inside the packet.
func completeChecksum(pkt []byte, start, offset int) bool {
	if start+offset+2 > len(pkt) {
		return false
	}
	putChecksum(pkt[start+offset:], ^Fold(Sum(0, pkt[start:])))
	return true
}

// putChecksum writes a finished transport checksum, zero as 0xffff.
func putChecksum(field []byte, sum uint16) {
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}
