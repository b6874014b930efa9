package packet

import (
	"bytes"
	"encoding/binary"
)

const (
	maxDatagrams = 64    // UDP_MAX_SEGMENTS of kernels before 6.9
	maxIPLen     = 65535 // what the length field of an IP header can say
	ipv4DF       = 0x40  // "don't fragment" in byte 6
)

// A Merger finds, in a batch of IP packets, the runs that one super-packet can
// stand for, so that the kernel takes each with one system call and walks its
// network stack once. It copies no payload: a merged packet is a list of
// slices of the batch's slab.
//
// Only packets that differ in nothing but what splitting a super-packet makes
// differ are merged, and packets of one flow are never reordered. TCP segments
// need data and no flags but ACK, PSH and ECE; the checksums of the payloads are
// not looked at: the packets come out of an authenticated tunnel, and the
// kernel's own WireGuard trusts them likewise.
//
// The zero Merger merges nothing. It allocates nothing.
type Merger struct {
	TCP bool // merge TCP segments
	UDP bool // merge UDP datagrams: the device took TUN_F_USO4 and TUN_F_USO6

	b     *Batch
	n     int
	runs  [MaxPackets]run
	next  [MaxPackets]uint8 // packet i is followed by packet next[i] of its run
	flows flowTable
}

// A run is a list of packets that are to be written as one.
type run struct {
	first, last uint8
	count       uint8
	hdr         uint16 // headers of each packet; only the first one's are written
	h           VirtioHeader
}

// Merge looks at the packets of b and returns the number of pieces that Piece
// then gives. Dropped packets are left out. Headers in b change; b must not
// change otherwise until the last Piece was taken.
func (m *Merger) Merge(b *Batch) int {
	m.b, m.n = b, 0
	m.flows.reset()
	var s segment
	for i := range b.Len() {
		pkt := b.Packet(i)
		if len(pkt) == 0 {
			continue
		}
		if !m.parse(pkt, &s) {
			m.closeFor(pkt)
			m.start(i)
			continue
		}
		m.place(i, &s)
	}
	for i := range m.n {
		if m.runs[i].count > 1 {
			m.seal(&m.runs[i])
		}
	}
	return m.n
}

// Piece appends to parts the slices that make up piece i, in order, and
// returns them with the header that goes before them.
func (m *Merger) Piece(i int, parts [][]byte) (VirtioHeader, [][]byte) {
	r := &m.runs[i]
	p := int(r.first)
	parts = append(parts, m.b.Packet(p))
	for range int(r.count) - 1 {
		p = int(m.next[p])
		parts = append(parts, m.b.Packet(p)[r.hdr:])
	}
	return r.h, parts
}

// start makes packet i a run of its own and returns the run's number.
func (m *Merger) start(i int) int {
	m.runs[m.n] = run{first: uint8(i), last: uint8(i), count: 1}
	m.n++
	return m.n - 1
}

// place adds packet i to the open run of its flow, or starts one.
func (m *Merger) place(i int, s *segment) {
	f := m.flows.find(s)
	if f != nil && f.run != closed && f.accepts(s) {
		r := &m.runs[f.run]
		m.next[r.last] = uint8(i)
		r.last = uint8(i)
		r.count++
		if f.add(s) || r.count == maxDatagrams && s.proto == ProtoUDP {
			f.run = closed
		}
		return
	}
	n := m.start(i)
	m.runs[n].hdr = uint16(s.hdr)
	if s.closes {
		if f != nil {
			f.run = closed
		}
		return
	}
	if f == nil {
		f = m.flows.add(s)
	}
	f.segment, f.run, f.size, f.total = *s, n, s.payload, s.hdr
	f.add(s)
}

// closeFor ends the runs that pkt, which cannot be merged, must not be
// overtaken by.
func (m *Merger) closeFor(pkt []byte) {
	if m.flows.n == 0 {
		return
	}
	t, ok := Transport(pkt)
	if !ok || t.Fragment {
		m.flows.reset() // rare, and whose it is cannot be seen: be careful
		return
	}
	if t.Proto != ProtoTCP && t.Proto != ProtoUDP {
		return
	}
	m.flows.close(addresses(pkt), t.Proto, uint32(t.SrcPort)<<16|uint32(t.DstPort))
}

// parse reports whether the packet can be part of a run, and then fills in s.
func (m *Merger) parse(pkt []byte, s *segment) bool {
	switch Version(pkt) {
	case 4:
		// No options, no fragment, nothing behind the packet, a good header.
		if pkt[0] != 0x45 || int(binary.BigEndian.Uint16(pkt[2:])) != len(pkt) ||
			binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 || Fold(plainHeaderSum(pkt)) != 0xffff {
			return false
		}
		s.v6, s.proto, s.ip = false, pkt[9], ipv4HeaderLen
	case 6:
		if int(binary.BigEndian.Uint16(pkt[4:])) != len(pkt)-ipv6HeaderLen {
			return false
		}
		s.v6, s.proto, s.ip = true, pkt[6], ipv6HeaderLen
	default:
		return false
	}
	s.pkt = pkt
	rest := pkt[s.ip:]
	switch s.proto {
	case ProtoTCP:
		if !m.TCP || len(rest) < tcpHeaderLen {
			return false
		}
		flags := rest[13]
		s.hdr = s.ip + int(rest[12]>>4)*4
		s.closes = flags&tcpPSH != 0
		if flags&^(tcpPSH|tcpECE) != tcpACK || rest[18]|rest[19] != 0 || s.hdr < s.ip+tcpHeaderLen {
			return false
		}
	case ProtoUDP:
		// A checksum of zero says "none" and must arrive as zero.
		if !m.UDP || len(rest) < udpHeaderLen || rest[6]|rest[7] == 0 ||
			int(binary.BigEndian.Uint16(rest[4:])) != len(rest) {
			return false
		}
		s.hdr, s.closes = s.ip+udpHeaderLen, false
	default:
		return false
	}
	s.key = flowKey(addresses(pkt), s.proto, binary.BigEndian.Uint32(rest))
	s.payload = len(pkt) - s.hdr
	return s.payload > 0
}

// accepts reports whether s, of the same flow, is what splitting a super-packet
// would give next.
func (f *flow) accepts(s *segment) bool {
	a, b := f.pkt, s.pkt
	if s.hdr != f.hdr || s.payload > f.size || f.total+s.payload > maxIPLen {
		return false
	}
	if f.v6 {
		// Traffic class and flow label, hop limit.
		if binary.BigEndian.Uint32(a) != binary.BigEndian.Uint32(b) || a[7] != b[7] {
			return false
		}
	} else if a[1] != b[1] || a[6] != b[6] || a[8] != b[8] {
		return false // TOS, DF, TTL
	} else if b[6]&ipv4DF == 0 && binary.BigEndian.Uint16(b[4:]) != f.id+1 {
		// With DF the identification means nothing (RFC 6864 §4.1), and many
		// hosts leave it zero.
		return false
	}
	if f.proto == ProtoUDP {
		return true
	}
	a, b = a[f.ip:f.hdr], b[f.ip:f.hdr]
	// Acknowledgement; header length, flags, window; options.
	const psh = tcpPSH << 16
	return binary.BigEndian.Uint32(b[4:]) == f.seq &&
		binary.BigEndian.Uint32(a[8:]) == binary.BigEndian.Uint32(b[8:]) &&
		binary.BigEndian.Uint32(a[12:])|psh == binary.BigEndian.Uint32(b[12:])|psh &&
		bytes.Equal(a[tcpHeaderLen:], b[tcpHeaderLen:])
}

// add takes s in and reports whether nothing may follow.
func (f *flow) add(s *segment) (closed bool) {
	f.total += s.payload
	if f.proto == ProtoTCP {
		f.seq = binary.BigEndian.Uint32(s.pkt[s.ip+4:]) + uint32(s.payload)
	}
	if !f.v6 {
		f.id = binary.BigEndian.Uint16(s.pkt[4:])
	}
	return s.closes || s.payload < f.size
}

// seal makes the headers of a run's first packet those of the super-packet.
func (m *Merger) seal(r *run) {
	head := m.b.Packet(int(r.first))
	total := len(head)
	for i, p := 1, int(r.first); i < int(r.count); i++ {
		p = int(m.next[p])
		total += len(m.b.Packet(p)) - int(r.hdr)
	}
	h := VirtioHeader{
		Flags:       VirtioNeedsChecksum,
		Kind:        VirtioUDP,
		HeaderLen:   r.hdr,
		SegmentSize: uint16(len(head)) - r.hdr,
	}
	ip, proto := ipv6HeaderLen, head[6]
	if head[0]>>4 == 4 {
		ip, proto = ipv4HeaderLen, head[9]
		binary.BigEndian.PutUint16(head[2:], uint16(total))
		setIPv4Checksum(head[:ip])
	} else {
		binary.BigEndian.PutUint16(head[4:], uint16(total-ip))
	}
	transport := head[ip:]
	h.ChecksumStart, h.ChecksumOffset = uint16(ip), 6
	if proto == ProtoTCP {
		h.Kind, h.ChecksumOffset = VirtioTCPv6, 16
		if ip == ipv4HeaderLen {
			h.Kind = VirtioTCPv4
		}
		last := m.b.Packet(int(r.last))
		transport[13] |= last[ip+13] & tcpPSH
	} else {
		binary.BigEndian.PutUint16(transport[4:], uint16(total-ip))
	}
	// The sum of the pseudo header: the kernel, or the program's network
	// card, completes it where anybody wants to know.
	binary.BigEndian.PutUint16(transport[h.ChecksumOffset:], Fold(pseudo(addrSum(head), proto, total-ip)))
	r.h = h
}
