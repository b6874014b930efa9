package packet

import (
	"bytes"
	"encoding/binary"
)

const (
	maxFlows     = 8     // open runs. A batch seldom has packets of more flows
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
	open  int
	flows [maxFlows]flow
	evict int
}

// A run is a list of packets that are to be written as one.
type run struct {
	first, last uint8
	count       uint8
	hdr         uint16 // headers of each packet; only the first one's are written
	h           VirtioHeader
}

// A flow is an open run with what the next packet must look like.
type flow struct {
	segment
	run   int
	size  int    // payload bytes of each packet but the last
	total int    // bytes of the merged packet so far
	seq   uint32 // TCP: expected sequence number
	id    uint16 // IPv4: identification of the last packet
}

// A segment is a packet that can be part of a run.
type segment struct {
	pkt     []byte
	v6      bool
	proto   uint8
	ip      int // length of the IP header
	hdr     int // length of all headers
	payload int
	closes  bool // nothing may follow it: PSH
}

// Merge looks at the packets of b and returns the number of pieces that Piece
// then gives. Dropped packets are left out. Headers in b change; b must not
// change otherwise until the last Piece was taken.
func (m *Merger) Merge(b *Batch) int {
	m.b, m.n, m.open = b, 0, 0
	for i := range b.Len() {
		pkt := b.Packet(i)
		if len(pkt) == 0 {
			continue
		}
		s, ok := m.parse(pkt)
		if !ok {
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
	at := -1
	for f := range m.open {
		if m.flows[f].sameFlow(s) {
			at = f
			break
		}
	}
	if at >= 0 && m.flows[at].accepts(s) {
		f := &m.flows[at]
		r := &m.runs[f.run]
		m.next[r.last] = uint8(i)
		r.last = uint8(i)
		r.count++
		if f.add(s) || r.count == maxDatagrams && s.proto == ProtoUDP {
			m.close(at)
		}
		return
	}
	n := m.start(i)
	m.runs[n].hdr = uint16(s.hdr)
	if s.closes {
		if at >= 0 {
			m.close(at)
		}
		return
	}
	if at < 0 {
		at = m.slot()
	}
	f := &m.flows[at]
	*f = flow{segment: *s, run: n, size: s.payload, total: s.hdr}
	f.add(s)
}

// slot returns a place for one more open flow, if need be that of another.
func (m *Merger) slot() int {
	if m.open < maxFlows {
		m.open++
		return m.open - 1
	}
	m.evict = (m.evict + 1) % maxFlows
	return m.evict
}

// close ends an open run. Its packets stay where they are in the order.
func (m *Merger) close(at int) {
	m.open--
	m.flows[at] = m.flows[m.open]
}

// closeFor ends the runs that pkt, which cannot be merged, must not be
// overtaken by.
func (m *Merger) closeFor(pkt []byte) {
	if m.open == 0 {
		return
	}
	t, ok := Transport(pkt)
	if !ok || t.Fragment {
		m.open = 0 // rare, and whose it is cannot be seen: be careful
		return
	}
	if t.Proto != ProtoTCP && t.Proto != ProtoUDP {
		return
	}
	src, _ := Src(pkt)
	dst, _ := Dst(pkt)
	for at := m.open - 1; at >= 0; at-- {
		f := &m.flows[at]
		fsrc, _ := Src(f.pkt)
		fdst, _ := Dst(f.pkt)
		ports := f.pkt[f.ip:]
		if f.proto == t.Proto && fsrc == src && fdst == dst &&
			binary.BigEndian.Uint16(ports) == t.SrcPort && binary.BigEndian.Uint16(ports[2:]) == t.DstPort {
			m.close(at)
		}
	}
}

// parse reports whether the packet can be part of a run.
func (m *Merger) parse(pkt []byte) (s segment, ok bool) {
	switch Version(pkt) {
	case 4:
		// No options, no fragment, nothing behind the packet, a good header.
		if pkt[0] != 0x45 || int(binary.BigEndian.Uint16(pkt[2:])) != len(pkt) ||
			binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 || Fold(Sum(0, pkt[:ipv4HeaderLen])) != 0xffff {
			return s, false
		}
		s.proto, s.ip = pkt[9], ipv4HeaderLen
	case 6:
		if int(binary.BigEndian.Uint16(pkt[4:])) != len(pkt)-ipv6HeaderLen {
			return s, false
		}
		s.v6, s.proto, s.ip = true, pkt[6], ipv6HeaderLen
	default:
		return s, false
	}
	s.pkt = pkt
	rest := pkt[s.ip:]
	switch s.proto {
	case ProtoTCP:
		if !m.TCP || len(rest) < tcpHeaderLen {
			return s, false
		}
		flags := rest[13]
		s.hdr = s.ip + int(rest[12]>>4)*4
		s.closes = flags&tcpPSH != 0
		if flags&^(tcpPSH|tcpECE) != tcpACK || rest[18]|rest[19] != 0 || s.hdr < s.ip+tcpHeaderLen {
			return s, false
		}
	case ProtoUDP:
		// A checksum of zero says "none" and must arrive as zero.
		if !m.UDP || len(rest) < udpHeaderLen || rest[6]|rest[7] == 0 ||
			int(binary.BigEndian.Uint16(rest[4:])) != len(rest) {
			return s, false
		}
		s.hdr = s.ip + udpHeaderLen
	default:
		return s, false
	}
	s.payload = len(pkt) - s.hdr
	return s, s.payload > 0
}

// sameFlow reports whether s has the addresses, protocol and ports of f.
func (f *flow) sameFlow(s *segment) bool {
	if f.v6 != s.v6 || f.proto != s.proto {
		return false
	}
	from := 12
	if f.v6 {
		from = 8
	}
	to := f.ip + 4 // the ports follow the addresses
	return bytes.Equal(f.pkt[from:to], s.pkt[from:to])
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
		if !bytes.Equal(a[:4], b[:4]) || a[7] != b[7] {
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
	return binary.BigEndian.Uint32(b[4:]) == f.seq &&
		bytes.Equal(a[8:13], b[8:13]) && a[13]|tcpPSH == b[13]|tcpPSH &&
		bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[20:], b[20:])
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
