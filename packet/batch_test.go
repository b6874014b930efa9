package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

// Whitepaper §5.4.6: padded to 16 bytes, but not beyond the MTU.
func TestPaddingKeepsWithinTheMTU(t *testing.T) {
	r := Room{Align: 16, MTU: 1420}
	for n, want := range map[int]int{0: 0, 1: 16, 16: 16, 17: 32, 1408: 1408, 1409: 1420, 1420: 1420, 1421: 1436, 2840: 2840, 2841: 2856} {
		if got := r.Padded(n); got != want {
			t.Errorf("%d bytes: got %d, want %d", n, got, want)
		}
	}
	for _, r := range []Room{{}, {Align: 1}, {MTU: 100}} {
		if got := r.Padded(77); got != 77 {
			t.Errorf("%+v: got %d, want 77", r, got)
		}
	}
	if got := (Room{Align: 16}).Padded(1419); got != 1424 {
		t.Errorf("without an MTU: got %d, want 1424", got)
	}
}

func TestAppendKeepsRoomAndEndsWithTheSlab(t *testing.T) {
	b := NewBatch(Room{Head: 16, Tail: 16, Align: 16, MTU: 1420})
	n := 0
	for b.Append(1420) != nil {
		if got, want := b.Offset(n), 16+n*1452; got != want {
			t.Fatalf("packet %d lies at %d, want %d", n, got, want)
		}
		n++
	}
	if want := SlabSize / 1452; n != want || b.Len() != n || b.Free() != SlabSize-n*1452 {
		t.Errorf("%d packets and %d bytes free, want %d packets", n, b.Free(), want)
	}
	b.Reset()
	for n = 0; b.Append(1) != nil; n++ {
	}
	if n != MaxPackets {
		t.Errorf("got %d small packets, want %d", n, MaxPackets)
	}
	b.Reset()
	if b.Append(SlabSize-31) != nil || b.Append(SlabSize) != nil {
		t.Error("a packet and its room were larger than the slab")
	}
}

func TestAppendedBytesAreOnesOwn(t *testing.T) {
	b := NewBatch(Room{})
	first, second := b.Append(10), b.Append(10)
	_ = append(first, 1)
	if second[0] != 0 || cap(b.Packet(0)) != 10 {
		t.Error("appending to a packet reaches into the next")
	}
}

func TestAddDescribesWhatLiesInTheSlab(t *testing.T) {
	b := NewBatch(Room{})
	p := &Path{Remote: netip.MustParseAddrPort("192.0.2.1:1")}
	copy(b.Slab()[100:], "datagram")
	if !b.Add(100, 8, p, 0x8b) || string(b.Packet(0)) != "datagram" || b.Path(0) != p || b.TOS(0) != 0x8b || b.Free() != SlabSize-108 {
		t.Errorf("got %q, %v, %d, %d free", b.Packet(0), b.Path(0), b.TOS(0), b.Free())
	}
	b.SetPacket(0, 104, 2)
	if string(b.Packet(0)) != "gr" {
		t.Errorf("got %q, want gr", b.Packet(0))
	}
	b.Drop(0)
	if b.Len() != 1 || len(b.Packet(0)) != 0 {
		t.Error("a dropped packet has bytes, or left no place")
	}
	for b.Add(0, 1, nil, 0) {
	}
	if b.Len() != MaxPackets {
		t.Errorf("got %d packets, want %d", b.Len(), MaxPackets)
	}
	if b.Append(1) != nil {
		t.Error("one more than fit")
	}
}

func TestPathsAreEqualByValue(t *testing.T) {
	a := &Path{Remote: netip.MustParseAddrPort("192.0.2.1:1"), Local: netip.MustParseAddr("192.0.2.2")}
	same, other := *a, *a
	other.Local = netip.Addr{}
	var none *Path
	if !a.Equal(a) || !a.Equal(&same) || a.Equal(&other) || a.Equal(nil) || none.Equal(a) || !none.Equal(nil) {
		t.Error("Equal does not compare the values")
	}
}

func TestSharedBatchDescribesPacketsOfTheOther(t *testing.T) {
	var part Batch
	for range 2 { // a second time over another
		b := NewBatch(Room{Head: 16, Tail: 16})
		for i := range 3 {
			copy(b.Append(4), []byte{byte(i), 1, 2, 3})
		}
		part.Share(b)
		if part.Len() != 0 {
			t.Fatalf("got %d packets, want none yet", part.Len())
		}
		part.Add(b.Offset(2), 4, nil, 0)
		part.Add(b.Offset(0), 3, nil, 0)
		b.Drop(0)
		if part.Len() != 2 || !bytes.Equal(part.Packet(0), []byte{2, 1, 2, 3}) || !bytes.Equal(part.Packet(1), []byte{0, 1, 2}) {
			t.Errorf("got %x and %x", part.Packet(0), part.Packet(1))
		}
	}
}
