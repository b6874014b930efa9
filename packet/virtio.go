package packet

import (
	"encoding/binary"
	"errors"
)

// VirtioHeaderLen is the length in bytes of a VirtioHeader on the wire.
const VirtioHeaderLen = 10

// Flags and kinds of a VirtioHeader (linux/virtio_net.h).
const (
	VirtioNeedsChecksum = 1 // the checksum at ChecksumStart+ChecksumOffset is partial
	VirtioDataValid     = 2 // checksums were verified

	VirtioNone   = 0    // one packet
	VirtioTCPv4  = 1    // TCP over IPv4, many segments
	VirtioTCPv6  = 4    // TCP over IPv6, many segments
	VirtioUDP    = 5    // UDP, many datagrams (USO)
	virtioECNBit = 0x80 // the first segment has CWR set
)

// A VirtioHeader goes before each packet that a TUN with IFF_VNET_HDR or a
// packet socket with PACKET_VNET_HDR carries: struct virtio_net_hdr, in the
// machine's byte order. The zero value is a single packet whose checksum is
// complete.
//
//	flags (1), gso_type (1), hdr_len (2), gso_size (2), csum_start (2), csum_offset (2)
type VirtioHeader struct {
	Flags          uint8
	Kind           uint8  // gso_type
	HeaderLen      uint16 // a hint only: unreliable on packets that were forwarded
	SegmentSize    uint16 // gso_size: payload bytes of each segment but the last
	ChecksumStart  uint16
	ChecksumOffset uint16
}

var errMalformed = errors.New("malformed packet or virtio header")

// ParseVirtioHeader reads the header at the start of b, which has at least
// VirtioHeaderLen bytes.
func ParseVirtioHeader(b []byte) VirtioHeader {
	_ = b[VirtioHeaderLen-1]
	return VirtioHeader{
		Flags:          b[0],
		Kind:           b[1],
		HeaderLen:      binary.NativeEndian.Uint16(b[2:]),
		SegmentSize:    binary.NativeEndian.Uint16(b[4:]),
		ChecksumStart:  binary.NativeEndian.Uint16(b[6:]),
		ChecksumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// Put writes the header to the start of b, which has at least VirtioHeaderLen
// bytes.
func (h VirtioHeader) Put(b []byte) {
	_ = b[VirtioHeaderLen-1]
	b[0], b[1] = h.Flags, h.Kind
	binary.NativeEndian.PutUint16(b[2:], h.HeaderLen)
	binary.NativeEndian.PutUint16(b[4:], h.SegmentSize)
	binary.NativeEndian.PutUint16(b[6:], h.ChecksumStart)
	binary.NativeEndian.PutUint16(b[8:], h.ChecksumOffset)
}
