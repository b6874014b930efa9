package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// wgRoom is what a WireGuard engine asks for.
var wgRoom = Room{Head: 16, Tail: 16, Align: 16, MTU: 1420}

func TestSplitAgreesWithReference(t *testing.T) {
	hopByHop := []byte{ProtoTCP, 0, 1, 4, 0, 0, 0, 0}
	withExtension := tcp6()
	withExtension.extensions, withExtension.next = hopByHop, protoHopByHop
	flagged := tcp4()
	flagged.flags |= tcpPSH | tcpFIN | tcpCWR | tcpECE
	flagged.seq, flagged.id = 1<<32-3000, 65530 // both wrap
	for name, p := range map[string]template{
		"tcp4": tcp4(), "tcp6": tcp6(), "udp4": udp4(), "udp6": udp6(), "extension": withExtension, "flags": flagged,
	} {
		for _, n := range []int{1, 1000, 1380, 1381, 2760, 60000} {
			for _, size := range []int{1380, 1000, 100} {
				p.payload = pattern(n, n)
				pkt := p.build()
				h := superHeader(p, pkt, size)
				h.HeaderLen = 9999 // unreliable
				got, want := splitAll(t, h, pkt, wgRoom), slowSplit(p, size)
				if len(got) != len(want) {
					t.Fatalf("%s, %d bytes in %d: got %d segments, want %d", name, n, size, len(got), len(want))
				}
				for i := range got {
					if !bytes.Equal(got[i], want[i]) {
						t.Fatalf("%s, %d bytes in %d, segment %d:\ngot  %x\nwant %x", name, n, size, i, got[i][:min(80, len(got[i]))], want[i][:min(80, len(want[i]))])
					}
				}
			}
		}
	}
}

func TestSegmentsLieAtOneStrideWithTheirRoom(t *testing.T) {
	p := tcp4()
	p.payload = pattern(0, 44*1368+10)
	pkt := p.build()
	var s Splitter
	if err := s.Start(superHeader(p, pkt, 1368), pkt); err != nil {
		t.Fatal(err)
	}
	b := NewBatch(wgRoom)
	if s.Next(b) {
		t.Fatal("one batch was not enough for 45 segments")
	}
	for i := range b.Len() {
		if got, want := b.Offset(i), 16+i*1452; got != want {
			t.Fatalf("segment %d lies at %d, want %d", i, got, want)
		}
	}
}

func TestPartialChecksumIsCompleted(t *testing.T) {
	for _, p := range []template{tcp4(), tcp6(), udp4(), udp6()} {
		p.payload = pattern(3, 333)
		want := p.build()
		pkt := bytes.Clone(want)
		h := superHeader(p, pkt, 0)
		h.Kind = VirtioNone
		got := splitAll(t, h, pkt, Room{})
		if len(got) != 1 || !bytes.Equal(got[0], want) {
			t.Errorf("%s proto %d: got %x, want %x", p.src, p.proto, got, want)
		}
	}
}

// A UDP checksum that comes out as zero is sent as 0xffff (RFC 768).
func TestZeroUDPChecksumIsWrittenAsOnes(t *testing.T) {
	p := udp4()
	p.payload = []byte{0, 0}
	p.noChecksum = true
	pkt := p.build()
	src, _ := Src(pkt)
	dst, _ := Dst(pkt)
	sum := Fold(Sum(PseudoSum(src, dst, ProtoUDP, len(pkt)-20), pkt[20:]))
	binary.BigEndian.PutUint16(pkt[28:], ^sum) // now everything adds up to 0xffff
	h := superHeader(p, pkt, 0)
	h.Kind = VirtioNone
	if got := splitAll(t, h, pkt, Room{})[0][26:28]; !bytes.Equal(got, []byte{0xff, 0xff}) {
		t.Errorf("got %x, want ffff", got)
	}
}

func TestPacketThatDoesNotFitWaitsForTheNextBatch(t *testing.T) {
	b := NewBatch(Room{})
	for b.Append(1000) != nil {
	}
	p := udp4()
	p.payload = pattern(0, 1400)
	pkt := p.build()
	var s Splitter
	if err := s.Start(VirtioHeader{}, pkt); err != nil {
		t.Fatal(err)
	}
	if !s.Next(b) {
		t.Fatal("a full batch took a packet")
	}
	b.Reset()
	if s.Next(b) || b.Len() != 1 || !bytes.Equal(b.Packet(0), pkt) {
		t.Errorf("got %d packets, want the one that waited", b.Len())
	}
}

func TestMalformedSuperPacketsAreRefused(t *testing.T) {
	good := tcp4()
	good.payload = pattern(0, 5000)
	for name, change := range map[string]func(h *VirtioHeader, pkt []byte) []byte{
		"empty":                func(h *VirtioHeader, pkt []byte) []byte { return nil },
		"no segment size":      func(h *VirtioHeader, pkt []byte) []byte { h.SegmentSize = 0; return pkt },
		"kind of IPv6":         func(h *VirtioHeader, pkt []byte) []byte { h.Kind = VirtioTCPv6; return pkt },
		"kind of UDP":          func(h *VirtioHeader, pkt []byte) []byte { h.Kind = VirtioUDP; return pkt },
		"unknown kind":         func(h *VirtioHeader, pkt []byte) []byte { h.Kind = 3; return pkt },
		"checksum elsewhere":   func(h *VirtioHeader, pkt []byte) []byte { h.ChecksumStart += 20; return pkt },
		"cut IP header":        func(h *VirtioHeader, pkt []byte) []byte { return pkt[:19] },
		"cut TCP header":       func(h *VirtioHeader, pkt []byte) []byte { return pkt[:39] },
		"cut options":          func(h *VirtioHeader, pkt []byte) []byte { return pkt[:50] },
		"data offset too low":  func(h *VirtioHeader, pkt []byte) []byte { pkt[32] = 0x40; return pkt },
		"fragment":             func(h *VirtioHeader, pkt []byte) []byte { pkt[6] = 0x20; return pkt },
		"version 5":            func(h *VirtioHeader, pkt []byte) []byte { pkt[0] = 0x55; return pkt },
		"header length 16":     func(h *VirtioHeader, pkt []byte) []byte { pkt[0] = 0x44; return pkt },
		"checksum behind data": func(h *VirtioHeader, pkt []byte) []byte { h.Kind, h.ChecksumStart = 0, 5050; return pkt },
	} {
		pkt := good.build()
		h := superHeader(good, pkt, 1000)
		pkt = change(&h, pkt)
		var s Splitter
		if err := s.Start(h, pkt); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if b := NewBatch(Room{}); s.Next(b) || b.Len() > 0 {
			t.Errorf("%s: gave packets after an error", name)
		}
	}
}

func FuzzSplitNeverPanics(f *testing.F) {
	for _, p := range []template{tcp4(), tcp6(), udp4(), udp6()} {
		p.payload = pattern(1, 3000)
		pkt := p.build()
		h := superHeader(p, pkt, 1000)
		head := make([]byte, VirtioHeaderLen)
		h.Put(head)
		f.Add(append(head, pkt...))
	}
	b := NewBatch(wgRoom)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < VirtioHeaderLen {
			return
		}
		var s Splitter
		if s.Start(ParseVirtioHeader(data), data[VirtioHeaderLen:]) != nil {
			return
		}
		for more := true; more; {
			b.Reset()
			more = s.Next(b)
			if more && b.Len() == 0 {
				t.Fatal("no progress")
			}
			(&Merger{TCP: true, UDP: true}).Merge(b)
		}
	})
}

// FuzzSplitAgreesWithReference also merges the segments again: the super-packet
// comes back, and splitting it once more gives the same bytes.
func FuzzSplitAgreesWithReference(f *testing.F) {
	f.Add(uint64(1), uint16(5000), uint16(1368), uint8(0))
	f.Add(uint64(2), uint16(65000), uint16(1200), uint8(3))
	f.Fuzz(func(t *testing.T, seed uint64, n, size uint16, kind uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := [...]template{tcp4(), tcp6(), udp4(), udp6()}[kind%4]
		p.payload = pattern(int(seed), 1+int(n)%65000)
		p.seq, p.ack, p.id = r.Uint32(), r.Uint32(), uint16(r.Uint32())
		p.tos, p.ttl, p.window = uint8(r.Uint32()), 1+uint8(r.Uint32()%255), uint16(r.Uint32())
		if p.proto == ProtoTCP {
			p.flags |= uint8(r.Uint32()) & (tcpPSH | tcpECE)
		}
		step := max(int(size)%1400, 1+len(p.payload)/200)
		pkt := p.build()
		want := slowSplit(p, step)
		got := splitAll(t, superHeader(p, pkt, step), pkt, wgRoom)
		if len(got) != len(want) {
			t.Fatalf("got %d segments, want %d", len(got), len(want))
		}
		b := NewBatch(Room{})
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("segment %d differs", i)
			}
			if out := b.Append(len(got[i])); out != nil {
				copy(out, got[i])
			}
		}
		taken := b.Len()
		m := &Merger{TCP: true, UDP: true}
		again := mergeAndSplit(t, m, b)
		if len(again) != taken {
			t.Fatalf("%d packets became %d by merging and splitting", taken, len(again))
		}
		for i := range again {
			if !bytes.Equal(again[i], want[i]) {
				t.Fatalf("segment %d differs after merging and splitting:\ngot  %x\nwant %x", i, again[i], want[i])
			}
		}
		if most := (taken + maxDatagrams - 1) / maxDatagrams; m.n > most {
			t.Fatalf("%d segments were merged into %d pieces, want %d at most", taken, m.n, most)
		}
	})
}

// mergeAndSplit returns the packets of b after they were merged and split again.
func mergeAndSplit(t testing.TB, m *Merger, b *Batch) (out [][]byte) {
	t.Helper()
	for i := range m.Merge(b) {
		h, parts := m.Piece(i, nil)
		out = append(out, splitAll(t, h, bytes.Join(parts, nil), Room{})...)
	}
	return out
}

func TestSplitAndMergeDoNotAllocate(t *testing.T) {
	p := tcp4()
	p.payload = pattern(0, 60000)
	pkt := p.build()
	h := superHeader(p, pkt, 1368)
	b := NewBatch(wgRoom)
	var s Splitter
	m := &Merger{TCP: true, UDP: true}
	parts := make([][]byte, 0, MaxPackets)
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		s.Start(h, pkt)
		s.Next(b)
		for i := range m.Merge(b) {
			_, parts = m.Piece(i, parts[:0])
		}
		Src(pkt)
		Dst(pkt)
		Transport(pkt)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, size := range []int{500, 1368} {
		b.Run(sizeName(size), func(b *testing.B) {
			p := tcp4()
			p.payload = pattern(0, min(size*45, 62000))
			pkt := p.build()
			h := superHeader(p, pkt, size)
			batch := NewBatch(wgRoom)
			var s Splitter
			b.SetBytes(int64(len(p.payload)))
			b.ReportAllocs()
			for b.Loop() {
				s.Start(h, pkt)
				for more := true; more; {
					batch.Reset()
					more = s.Next(batch)
				}
			}
		})
	}
}
