package packet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func batchOf(pkts ...[]byte) *Batch {
	b := NewBatch(Room{})
	for _, p := range pkts {
		copy(b.Append(len(p)), p)
	}
	return b
}

// following returns n segments that splitting would give.
func following(p template, n, size int) (out []template) {
	for i := range n {
		q := p
		q.id += uint16(i)
		q.seq += uint32(i * size)
		q.payload = pattern(i, size)
		out = append(out, q)
	}
	return out
}

func built(ps []template) (out [][]byte) {
	for _, p := range ps {
		out = append(out, p.build())
	}
	return out
}

// pieces returns how many packets each piece that Merge gives consists of.
func pieces(m *Merger, b *Batch) (out []int) {
	for i := range m.Merge(b) {
		_, parts := m.Piece(i, nil)
		out = append(out, len(parts))
	}
	return out
}

func TestRunsOfOneFlowAreMerged(t *testing.T) {
	for _, p := range []template{tcp4(), tcp6(), udp4(), udp6()} {
		segs := following(p, 4, 1000)
		segs[3].payload = segs[3].payload[:10] // the last may be smaller
		b := batchOf(built(segs)...)
		m := &Merger{TCP: true, UDP: true}
		if got := pieces(m, b); !slices.Equal(got, []int{4}) {
			t.Errorf("%s proto %d: got pieces of %v packets, want one of 4", p.src, p.proto, got)
			continue
		}
		h, parts := m.Piece(0, nil)
		whole := p
		whole.payload = bytes.Join([][]byte{segs[0].payload, segs[1].payload, segs[2].payload, segs[3].payload}, nil)
		want := whole.build()
		wantH := superHeader(whole, want, 1000)
		wantH.HeaderLen = uint16(len(parts[0]) - 1000)
		if got := bytes.Join(parts, nil); !bytes.Equal(got, want) || h != wantH {
			t.Errorf("%s proto %d: got %+v %x, want %+v %x", p.src, p.proto, h, got[:60], wantH, want[:60])
		}
	}
}

func TestWhatDiffersIsNotMerged(t *testing.T) {
	type change func(p *template)
	for _, c := range []struct {
		name   string
		of     func() template
		second change
	}{
		{"source", tcp4, func(p *template) { p.src = "10.0.0.3" }},
		{"destination", tcp6, func(p *template) { p.dst = "fd00::3" }},
		{"port", udp4, func(p *template) { p.sport++ }},
		{"TOS", tcp4, func(p *template) { p.tos = 2 }},
		{"traffic class", tcp6, func(p *template) { p.tos = 2 }},
		{"flow label", udp6, func(p *template) { p.label++ }},
		{"TTL", tcp4, func(p *template) { p.ttl = 63 }},
		{"hop limit", udp6, func(p *template) { p.ttl = 63 }},
		{"DF", tcp4, func(p *template) { p.noDF = true }},
		{"sequence", tcp4, func(p *template) { p.seq++ }},
		{"acknowledgement", tcp4, func(p *template) { p.ack++ }},
		{"window", tcp6, func(p *template) { p.window++ }},
		{"option's value", tcp4, func(p *template) { p.options = []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 2} }},
		{"option's length", tcp4, func(p *template) { p.options = nil }},
		{"SYN", tcp4, func(p *template) { p.flags |= 2 }},
		{"FIN", tcp4, func(p *template) { p.flags |= tcpFIN }},
		{"RST", tcp4, func(p *template) { p.flags |= 4 }},
		{"URG", tcp4, func(p *template) { p.flags |= 32; p.urgent = 1 }},
		{"CWR", tcp4, func(p *template) { p.flags |= tcpCWR }},
		{"ECE", tcp4, func(p *template) { p.flags |= tcpECE }},
		{"no ACK", tcp4, func(p *template) { p.flags = 0 }},
		{"larger", udp4, func(p *template) { p.payload = pattern(0, 1001) }},
		{"no payload", tcp4, func(p *template) { p.payload = nil }},
		{"no checksum", udp4, func(p *template) { p.noChecksum = true }},
		{"extension header", tcp6, func(p *template) { p.extensions, p.next = []byte{ProtoTCP, 0, 1, 4, 0, 0, 0, 0}, protoHopByHop }},
	} {
		segs := following(c.of(), 2, 1000)
		c.second(&segs[1])
		b := batchOf(built(segs)...)
		want := packets(b)
		m := &Merger{TCP: true, UDP: true}
		if got := pieces(m, b); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("%s: got pieces of %v packets, want two of one", c.name, got)
		}
		if got := packets(b); !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
			t.Errorf("%s: packets were changed", c.name)
		}
	}
}

func TestIdentificationCountsOnlyWithoutDF(t *testing.T) {
	for _, noDF := range []bool{false, true} {
		segs := following(udp4(), 2, 100)
		for i := range segs {
			segs[i].noDF, segs[i].id = noDF, 0
		}
		want := []int{2}
		if noDF {
			want = []int{1, 1}
		}
		if got := pieces(&Merger{UDP: true}, batchOf(built(segs)...)); !slices.Equal(got, want) {
			t.Errorf("without DF %v: got %v, want %v", noDF, got, want)
		}
	}
}

func TestPSHEndsARun(t *testing.T) {
	segs := following(tcp4(), 5, 1000)
	segs[1].flags |= tcpPSH
	b := batchOf(built(segs)...)
	m := &Merger{TCP: true}
	if got := pieces(m, b); !slices.Equal(got, []int{2, 3}) {
		t.Fatalf("got %v, want [2 3]", got)
	}
	_, parts := m.Piece(0, nil)
	if parts[0][20+13]&tcpPSH == 0 {
		t.Error("PSH of the last segment was lost")
	}
}

func TestSmallSegmentEndsARun(t *testing.T) {
	segs := following(udp6(), 5, 1000)
	segs[1].payload = segs[1].payload[:999]
	if got := pieces(&Merger{UDP: true}, batchOf(built(segs)...)); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("got %v, want [2 3]", got)
	}
}

func TestBadHeadersAreLeftToTheKernel(t *testing.T) {
	for name, change := range map[string]func(pkt []byte) []byte{
		"IPv4 checksum":   func(p []byte) []byte { p[10]++; return p },
		"padding":         func(p []byte) []byte { return append(p, 0) },
		"length too long": func(p []byte) []byte { p[3]++; return p },
		"options":         func(p []byte) []byte { p[0] = 0x46; return p },
		"fragment":        func(p []byte) []byte { p[6] |= 0x20; setIPv4Checksum(p[:20]); return p },
		"data offset":     func(p []byte) []byte { p[32] = 0x40; return p },
		"huge offset":     func(p []byte) []byte { p[32] = 0xf0; return p[:79] },
	} {
		segs := built(following(tcp4(), 3, 40))
		segs[1] = change(segs[1])
		if got := pieces(&Merger{TCP: true}, batchOf(segs...)); !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("%s: got %v, want [1 1 1]", name, got)
		}
	}
}

func TestSwitchedOffKindsAreNotMerged(t *testing.T) {
	b := batchOf(append(built(following(tcp4(), 2, 50)), built(following(udp4(), 2, 50))...)...)
	for _, c := range []struct {
		m    Merger
		want []int
	}{{Merger{}, []int{1, 1, 1, 1}}, {Merger{TCP: true}, []int{2, 1, 1}}, {Merger{UDP: true}, []int{1, 1, 2}}} {
		fresh := batchOf(packets(b)...)
		if got := pieces(&c.m, fresh); !slices.Equal(got, c.want) {
			t.Errorf("TCP %v, UDP %v: got %v, want %v", c.m.TCP, c.m.UDP, got, c.want)
		}
	}
}

func TestDroppedPacketsAreLeftOut(t *testing.T) {
	b := batchOf(built(following(udp4(), 3, 50))...)
	b.Drop(1)
	if got := pieces(&Merger{UDP: true}, b); !slices.Equal(got, []int{2}) {
		t.Errorf("got %v, want [2]", got)
	}
	b.Drop(0)
	b.Drop(2)
	if got := pieces(&Merger{UDP: true}, b); len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestSuperPacketIsNoLongerThanIPAllows(t *testing.T) {
	segs := following(tcp4(), 100, 1300)
	m := &Merger{TCP: true}
	b := batchOf(built(segs)...)
	for i := range m.Merge(b) {
		_, parts := m.Piece(i, nil)
		if n := len(bytes.Join(parts, nil)); n > maxIPLen {
			t.Errorf("piece %d has %d bytes", i, n)
		}
	}
	if m.n != 2 {
		t.Errorf("got %d pieces, want 2", m.n)
	}
}

// However many flows share a batch, packet by packet, each has its run.
func TestInterleavedFlowsAreMerged(t *testing.T) {
	for _, n := range []int{1, 2, 9, 32, 64} {
		var flows [][]template
		for i := range n {
			p := []template{tcp4(), tcp6(), udp4(), udp6()}[i%4]
			p.sport = uint16(1000 + i*7)
			flows = append(flows, following(p, MaxPackets/n, 100))
		}
		var pkts [][]byte
		for k := range MaxPackets / n {
			for i := range n {
				pkts = append(pkts, flows[i][k].build())
			}
		}
		m := &Merger{TCP: true, UDP: true}
		got := pieces(m, batchOf(pkts...))
		if want := slices.Repeat([]int{MaxPackets / n}, n); n > 1 && !slices.Equal(got, want) {
			t.Errorf("%d flows: got pieces of %v packets, want %v", n, got, want)
		}
		b := batchOf(pkts...)
		if allocs := testing.AllocsPerRun(5, func() { m.Merge(b) }); allocs > 0 {
			t.Errorf("%d flows: %v allocations", n, allocs)
		}
	}
}

// Flows of one bucket are told apart: with as many flows as packets, some share
// one for certain.
func TestFlowsOfOneBucketAreNotMixedUp(t *testing.T) {
	var pkts [][]byte
	for i := range MaxPackets {
		p := tcp4()
		p.sport = uint16(i)
		p.payload = pattern(i, 100)
		pkts = append(pkts, p.build())
	}
	if got := pieces(&Merger{TCP: true}, batchOf(pkts...)); !slices.Equal(got, slices.Repeat([]int{1}, MaxPackets)) {
		t.Errorf("got pieces of %v packets, want %d single ones", got, MaxPackets)
	}
}

// TestOrderOfEveryFlowIsKept mixes up to as many flows as packets, with packets
// that cannot be merged, and compares each flow's packets in order.
func TestOrderOfEveryFlowIsKept(t *testing.T) {
	for seed := range uint64(200) {
		checkOrder(t, seed, 120)
	}
}

func FuzzOrderOfEveryFlowIsKept(f *testing.F) {
	f.Add(uint64(1), uint8(100))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) { checkOrder(t, seed, int(n%MaxPackets)) })
}

func checkOrder(t *testing.T, seed uint64, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	flows := make([]template, 1+r.IntN([]int{3, 12, MaxPackets}[seed%3]))
	for i := range flows {
		flows[i] = [...]template{tcp4(), tcp6(), udp4(), udp6()}[r.IntN(4)]
		flows[i].sport = uint16(i)
	}
	var pkts [][]byte
	for i := range n {
		p := &flows[r.IntN(len(flows))]
		q := *p
		q.payload = pattern(i, 1+r.IntN(3)*100)
		switch r.IntN(12) {
		case 0:
			q.flags |= tcpPSH
		case 1:
			q.payload = nil
		case 2:
			q.ttl = 9
		case 3:
			q.noChecksum = q.proto == ProtoUDP
		}
		pkts = append(pkts, q.build())
		p.id++
		p.seq += uint32(len(q.payload))
	}
	byFlow := func(pkts [][]byte) map[string][][]byte {
		m := make(map[string][][]byte)
		for _, p := range pkts {
			src, _ := Src(p)
			tr, _ := Transport(p)
			key := fmt.Sprint(src, tr.Proto, tr.SrcPort)
			m[key] = append(m[key], p)
		}
		return m
	}
	want := byFlow(pkts)
	got := byFlow(mergeAndSplit(t, &Merger{TCP: true, UDP: true}, batchOf(pkts...)))
	for key, w := range want {
		if len(got[key]) != len(w) {
			t.Fatalf("seed %d, flow %s: got %d packets, want %d", seed, key, len(got[key]), len(w))
		}
		for i := range w {
			if !bytes.Equal(got[key][i], w[i]) {
				t.Fatalf("seed %d, flow %s, packet %d:\ngot  %x\nwant %x", seed, key, i, got[key][i], w[i])
			}
		}
	}
}

func FuzzMergeNeverPanics(f *testing.F) {
	f.Add(tcp4().build(), tcp4().build(), uint8(3))
	f.Add(udp6().build(), tcp6().build(), uint8(3))
	f.Fuzz(func(t *testing.T, a, b []byte, n uint8) {
		batch := NewBatch(Room{})
		for i := range int(n % MaxPackets) {
			p := a
			if i%3 == 2 {
				p = b
			}
			copy(batch.Append(len(p)), p)
		}
		pieces(&Merger{TCP: true, UDP: true}, batch)
	})
}

func BenchmarkMerge(b *testing.B) {
	run := func(name string, pkts [][]byte) {
		b.Run(name, func(b *testing.B) {
			batch := batchOf(pkts...)
			m := &Merger{TCP: true, UDP: true}
			parts := make([][]byte, 0, MaxPackets)
			b.SetBytes(int64(len(pkts) * 1368))
			b.ReportAllocs()
			for b.Loop() {
				for i, p := range pkts { // heads of runs have changed
					copy(batch.Packet(i), p[:52])
				}
				for i := range m.Merge(batch) {
					_, parts = m.Piece(i, parts[:0])
				}
			}
		})
	}
	for _, n := range []int{1, 45} {
		run(sizeName(n), built(following(tcp4(), n, 1368)))
	}
	for _, flows := range []int{4, 30} { // packet by packet
		var pkts [][]byte
		for k := range 90 / flows {
			for i := range flows {
				p := tcp4()
				p.sport = uint16(2000 + i)
				pkts = append(pkts, following(p, k+1, 1368)[k].build())
			}
		}
		run(sizeName(90)+" of "+sizeName(flows), pkts)
	}
}

// Linux, drivers/net/wireguard/receive.c: the tag has vouched for the packet, so
// a sum inside it is not verified once more: that would cost more than merging
// saves.
func TestSumsInARunAreNotVerifiedAgain(t *testing.T) {
	segs := built(following(tcp4(), 3, 1000))
	segs[1][20+16] ^= 0xff
	if got := pieces(&Merger{TCP: true}, batchOf(segs...)); !slices.Equal(got, []int{3}) {
		t.Errorf("got pieces of %v packets, want one of 3", got)
	}
}
