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
	if hasVector && len(b) >= vectorLeast {
		n := len(b) &^ (vector - 1)
		acc = add(acc, sumVector(&b[0], n))
		b = b[n:]
	}
	return sumPlain(acc, b)
}

// copySum copies src to the beginning of dst, which is no shorter and does not
// overlap it, and adds src to acc as Sum does. The bytes pass through the
// processor once.
func copySum(acc uint64, dst, src []byte) uint64 {
	if hasVector && len(src) >= vectorLeast {
		n := len(src) &^ (vector - 1)
		acc = add(acc, copySumVector(&dst[:len(src)][0], &src[0], n))
		dst, src = dst[n:], src[n:]
	}
	copy(dst, src)
	return sumPlain(acc, src)
}

// add adds two partial sums.
func add(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	return sum + carry
}

// sumPlain is Sum in plain Go.
func sumPlain(acc uint64, b []byte) uint64 {
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

// short returns a partial sum of the same value that is less than 2^33: some can
// be added up without a carry.
func short(acc uint64) uint64 { return acc>>32 + acc&0xffffffff }

// without takes 16-bit words of the packet out of a partial sum that has them.
func without(acc uint64, words ...[]byte) uint64 {
	for _, w := range words {
		acc = add(acc, word(^binary.BigEndian.Uint16(w)))
	}
	return acc
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
	return add(addrs, word(uint16(proto))+word(uint16(length))+word(uint16(length>>16)))
}

// addrSum returns the sum of the two addresses of the packet, whose fixed
// header is complete.
func addrSum(pkt []byte) uint64 { return Sum(0, addresses(pkt)) }

// plainHeaderSum is the sum of an IPv4 header without options.
func plainHeaderSum(pkt []byte) uint64 {
	h := pkt[:ipv4HeaderLen]
	return uint64(binary.NativeEndian.Uint32(h)) + uint64(binary.NativeEndian.Uint32(h[4:])) +
		uint64(binary.NativeEndian.Uint32(h[8:])) + uint64(binary.NativeEndian.Uint32(h[12:])) + uint64(binary.NativeEndian.Uint32(h[16:]))
}

// setIPv4Checksum computes the checksum of an IPv4 header.
func setIPv4Checksum(hdr []byte) {
	hdr[10], hdr[11] = 0, 0
	binary.BigEndian.PutUint16(hdr[10:], ^Fold(Sum(0, hdr)))
}

// putChecksum writes a finished transport checksum, zero as 0xffff, because in
// UDP zero means "no checksum", and elsewhere both mean the same.
func putChecksum(field []byte, sum uint16) {
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}
