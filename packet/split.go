package packet

import "encoding/binary"

// A Splitter turns what a device with a VirtioHeader hands over into packets
// as they travel on a wire: a super-packet into its segments, a packet with a
// partial checksum into a complete one. The segments are what the kernel itself
// would make of it (net/ipv4/tcp_offload.c, udp_offload.c).
//
// The zero Splitter has nothing to give. It allocates nothing.
type Splitter struct {
	pkt []byte // what is being split; nil: nothing
	h   VirtioHeader

	// Of a super-packet:
	proto   uint8
	ip      int // length of the IP header with everything before the transport header
	hdr     int // length of all headers: they are repeated in each segment
	size    int // payload bytes of each segment but the last
	next    int // where the payload of the next segment begins
	segment int // its number, from 0

	// What the headers count from: IPv4's identification; TCP's sequence number
	// and its header length and flags.
	id, flags uint16
	seq       uint32

	// Partial checksums of what is the same in all segments, made once: of the
	// IPv4 header without length and identification, and of the transport's with
	// its pseudo header, without lengths, sequence number and flags.
	ipSum, transportSum uint64 // ipSum is 0 for IPv6 only
}

// Start makes the splitter give the packets that pkt stands for. It keeps pkt
// until Next has returned false. It returns an error, and will give nothing,
// if pkt and h do not fit together.
//
// Where the headers end is found in the packet: h.HeaderLen is known to be
// wrong on packets that were forwarded.
func (s *Splitter) Start(h VirtioHeader, pkt []byte) error {
	*s = Splitter{}
	if len(pkt) == 0 {
		return errMalformed
	}
	if h.Kind&^virtioECNBit == VirtioNone {
		if h.Flags&VirtioNeedsChecksum != 0 && int(h.ChecksumStart)+int(h.ChecksumOffset)+2 > len(pkt) {
			return errMalformed
		}
		s.pkt, s.h = pkt, h
		return nil
	}
	t, ok := Transport(pkt)
	if !ok || t.Fragment || h.SegmentSize == 0 {
		return errMalformed
	}
	version, proto, hdr := 0, uint8(0), 0
	switch h.Kind &^ virtioECNBit {
	case VirtioTCPv4:
		version, proto = 4, ProtoTCP
	case VirtioTCPv6:
		version, proto = 6, ProtoTCP
	case VirtioUDP:
		version, proto = Version(pkt), ProtoUDP
	default:
		return errMalformed
	}
	if Version(pkt) != version || t.Proto != proto {
		return errMalformed
	}
	if h.Flags&VirtioNeedsChecksum != 0 && int(h.ChecksumStart) != t.Offset {
		return errMalformed // a tunnel in the packet: nobody offered to split that
	}
	switch rest := pkt[t.Offset:]; {
	case proto == ProtoUDP && len(rest) >= udpHeaderLen:
		hdr = udpHeaderLen
	case proto == ProtoTCP && len(rest) >= tcpHeaderLen:
		hdr = int(rest[12]>>4) * 4
		if hdr < tcpHeaderLen || hdr > len(rest) {
			return errMalformed
		}
	default:
		return errMalformed
	}
	*s = Splitter{pkt: pkt, h: h, proto: proto, ip: t.Offset, hdr: t.Offset + hdr,
		size: int(h.SegmentSize), next: t.Offset + hdr}
	s.sumHeaders()
	return nil
}

// sumHeaders makes the partial checksums of the headers, and notes what they
// count from.
func (s *Splitter) sumHeaders() {
	pkt := s.pkt
	if pkt[0]>>4 == 4 {
		s.id = binary.BigEndian.Uint16(pkt[4:])
		s.ipSum = short(without(Sum(0, pkt[:int(pkt[0]&15)*4]), pkt[2:4], pkt[4:6], pkt[10:12]))
	}
	transport := pkt[s.ip:s.hdr]
	sum := pseudo(Sum(addrSum(pkt), transport), s.proto, 0)
	if s.proto == ProtoTCP {
		s.seq, s.flags = binary.BigEndian.Uint32(transport[4:]), binary.BigEndian.Uint16(transport[12:])
		sum = without(sum, transport[4:6], transport[6:8], transport[12:14], transport[16:18])
	} else {
		sum = without(sum, transport[4:6], transport[6:8])
	}
	s.transportSum = short(sum)
}

// Next appends to b as many of the packets as it has space for, each with the
// room that b asks for; segments of one size lie at one stride. It reports
// whether there are more, for the next batch.
func (s *Splitter) Next(b *Batch) (more bool) {
	if s.pkt == nil {
		return false
	}
	if s.hdr == 0 {
		s.single(b)
		return s.pkt != nil
	}
	for {
		end := min(s.next+s.size, len(s.pkt))
		out := b.Append(s.hdr + end - s.next)
		if out == nil {
			return s.full(b)
		}
		copy(out, s.pkt[:s.hdr])
		payload := copySum(0, out[s.hdr:], s.pkt[s.next:end])
		s.finish(out, payload, end == len(s.pkt))
		s.next = end
		s.segment++
		if end == len(s.pkt) {
			s.pkt = nil
			return false
		}
	}
}

// full says that the rest waits for another batch, unless even an empty one
// has no space for it.
func (s *Splitter) full(b *Batch) (more bool) {
	if b.Len() == 0 {
		s.pkt = nil
	}
	return s.pkt != nil
}

// single gives a packet that is no super-packet.
func (s *Splitter) single(b *Batch) {
	out := b.Append(len(s.pkt))
	if out == nil {
		s.full(b)
		return
	}
	pkt := s.pkt
	s.pkt = nil
	if s.h.Flags&VirtioNeedsChecksum == 0 {
		copy(out, pkt)
		return
	}
	// The field holds the sum of the pseudo header, and everything from start
	// on is added to it (virtio 1.2 §5.1.6.2).
	start, field := int(s.h.ChecksumStart), int(s.h.ChecksumStart)+int(s.h.ChecksumOffset)
	copy(out, pkt[:start])
	sum := copySum(0, out[start:], pkt[start:])
	putChecksum(out[field:], ^Fold(sum))
}

// finish writes into one segment what differs from the super-packet's headers.
// payload is the sum of what is behind them.
func (s *Splitter) finish(out []byte, payload uint64, last bool) {
	// Nothing is read from out: it was just written, in larger pieces.
	if s.ipSum != 0 {
		length, id := uint16(len(out)), s.id+uint16(s.segment)
		binary.BigEndian.PutUint32(out[2:], uint32(length)<<16|uint32(id))
		binary.BigEndian.PutUint16(out[10:], ^Fold(s.ipSum+word(length)+word(id)))
	} else {
		binary.BigEndian.PutUint16(out[4:], uint16(len(out)-ipv6HeaderLen))
	}
	transport := out[s.ip:s.hdr]
	length := uint16(len(out) - s.ip)
	sum := add(payload, s.transportSum+word(length))
	if s.proto != ProtoTCP {
		binary.BigEndian.PutUint16(transport[4:], length)
		putChecksum(transport[6:], ^Fold(add(sum, word(length))))
		return
	}
	seq, flags := s.seq+uint32(s.segment*s.size), s.flags
	if !last {
		flags &^= tcpFIN | tcpPSH
	}
	if s.segment > 0 {
		flags &^= tcpCWR // RFC 3168 §6.1.2: once per reduction
	}
	binary.BigEndian.PutUint32(transport[4:], seq)
	binary.BigEndian.PutUint16(transport[12:], flags)
	putChecksum(transport[16:], ^Fold(add(sum, word(uint16(seq>>16))+word(uint16(seq))+word(flags))))
}

const (
	tcpFIN = 1 << 0
	tcpPSH = 1 << 3
	tcpACK = 1 << 4
	tcpECE = 1 << 6
	tcpCWR = 1 << 7
)
