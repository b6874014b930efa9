package packet

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"
)

func sizeName(n int) string { return strconv.Itoa(n) }

// A template is a packet to be built by tests; zero fields get sensible values.
type template struct {
	src, dst     string
	proto        uint8
	sport, dport uint16
	tos, ttl     uint8
	label        uint32
	id           uint16
	noDF         bool
	flags        uint8
	seq, ack     uint32
	window       uint16
	urgent       uint16
	options      []byte // TCP
	extensions   []byte // IPv6: headers between; their chain is the caller's
	next         uint8  // with extensions: the first one's number
	payload      []byte
	noChecksum   bool
}

// build returns the packet with all lengths and checksums right.
func (p template) build() []byte {
	src, dst := netip.MustParseAddr(p.src), netip.MustParseAddr(p.dst)
	if p.ttl == 0 {
		p.ttl = 64
	}
	var tp []byte
	tp = binary.BigEndian.AppendUint16(tp, p.sport)
	tp = binary.BigEndian.AppendUint16(tp, p.dport)
	field := 6
	if p.proto == ProtoTCP {
		field = 16
		tp = binary.BigEndian.AppendUint32(tp, p.seq)
		tp = binary.BigEndian.AppendUint32(tp, p.ack)
		tp = append(tp, uint8(5+len(p.options)/4)<<4, p.flags)
		tp = binary.BigEndian.AppendUint16(tp, p.window)
		tp = append(tp, 0, 0)
		tp = binary.BigEndian.AppendUint16(tp, p.urgent)
		tp = append(tp, p.options...)
	} else {
		tp = binary.BigEndian.AppendUint16(tp, uint16(8+len(p.payload)))
		tp = append(tp, 0, 0)
	}
	tp = append(tp, p.payload...)
	if !p.noChecksum {
		pseudo := append(src.AsSlice(), dst.AsSlice()...)
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(tp)))
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(p.proto))
		sum := ^slowSum(append(pseudo, tp...))
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(tp[field:], sum)
	}
	var ip []byte
	if src.Is4() {
		ip = append(ip, 0x45, p.tos)
		ip = binary.BigEndian.AppendUint16(ip, uint16(20+len(tp)))
		ip = binary.BigEndian.AppendUint16(ip, p.id)
		df := byte(0x40)
		if p.noDF {
			df = 0
		}
		ip = append(ip, df, 0, p.ttl, p.proto, 0, 0)
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], ^slowSum(ip))
	} else {
		ip = binary.BigEndian.AppendUint32(ip, 6<<28|uint32(p.tos)<<20|p.label)
		ip = binary.BigEndian.AppendUint16(ip, uint16(len(p.extensions)+len(tp)))
		next := p.proto
		if p.extensions != nil {
			next = p.next
		}
		ip = append(ip, next, p.ttl)
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		ip = append(ip, p.extensions...)
	}
	return append(ip, tp...)
}

// pattern returns n bytes that differ from those of another seed.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(seed*31 + i*7 + i>>8)
	}
	return b
}

// tcp4, tcp6, udp4, udp6 are the templates that most tests start from.
func tcp4() template {
	return template{src: "10.0.0.1", dst: "10.0.0.2", proto: ProtoTCP, sport: 1000, dport: 80, flags: tcpACK, window: 500, id: 7, seq: 1 << 31,
		options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}}
}

func tcp6() template {
	p := tcp4()
	p.src, p.dst, p.label = "fd00::1", "fd00::2", 0x12345
	return p
}

func udp4() template {
	return template{src: "10.0.0.1", dst: "10.0.0.2", proto: ProtoUDP, sport: 1000, dport: 443, id: 7}
}

func udp6() template {
	p := udp4()
	p.src, p.dst, p.label = "fd00::1", "fd00::2", 0x12345
	return p
}

// slowSplit is the reference: it builds every segment anew.
func slowSplit(p template, size int) (out [][]byte) {
	payload := p.payload
	for i := 0; ; i++ {
		q := p
		n := min(size, len(payload))
		q.payload = payload[:n]
		payload = payload[n:]
		q.id += uint16(i)
		q.seq += uint32(i * size)
		if len(payload) > 0 {
			q.flags &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			q.flags &^= tcpCWR
		}
		out = append(out, q.build())
		if len(payload) == 0 {
			return out
		}
	}
}

// superHeader returns the virtio header of a super-packet, and makes its
// checksum partial as the kernel does.
func superHeader(p template, pkt []byte, size int) VirtioHeader {
	h := VirtioHeader{Flags: VirtioNeedsChecksum, Kind: VirtioUDP, SegmentSize: uint16(size), ChecksumOffset: 6}
	h.ChecksumStart = 20
	if pkt[0]>>4 == 6 {
		h.ChecksumStart = uint16(40 + len(p.extensions))
	}
	if p.proto == ProtoTCP {
		h.Kind, h.ChecksumOffset = VirtioTCPv6, 16
		if pkt[0]>>4 == 4 {
			h.Kind = VirtioTCPv4
		}
	}
	src, _ := Src(pkt)
	dst, _ := Dst(pkt)
	sum := Fold(PseudoSum(src, dst, p.proto, len(pkt)-int(h.ChecksumStart)))
	binary.BigEndian.PutUint16(pkt[h.ChecksumStart+h.ChecksumOffset:], sum)
	return h
}

// packets returns copies of the packets of b that were not dropped.
func packets(b *Batch) (out [][]byte) {
	for i := range b.Len() {
		if p := b.Packet(i); len(p) > 0 {
			out = append(out, append([]byte(nil), p...))
		}
	}
	return out
}

// splitAll returns what a splitter gives, over as many batches as it takes.
func splitAll(t testing.TB, h VirtioHeader, pkt []byte, room Room) (out [][]byte) {
	t.Helper()
	var s Splitter
	if err := s.Start(h, pkt); err != nil {
		t.Fatalf("Start: %v", err)
	}
	b := NewBatch(room)
	for {
		b.Reset()
		more := s.Next(b)
		if more && b.Len() == 0 {
			t.Fatal("Next gave nothing and has more")
		}
		out = append(out, packets(b)...)
		if !more {
			return out
		}
	}
}
