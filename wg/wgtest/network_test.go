package wgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"adit/packet"
)

var (
	here  = netip.MustParseAddrPort("192.0.2.1:1")
	there = netip.MustParseAddrPort("192.0.2.2:2")
)

// exchange sends n numbered datagrams and returns what arrives, in order.
func exchange(t *testing.T, seed uint64, f Faults, n int) (got []byte) {
	t.Helper()
	network := NewNetwork(seed)
	network.SetFaults(f)
	a, b := network.Listen(here), network.Listen(there)
	for i := range n {
		a.Send([]byte{byte(i)}, there, 0)
	}
	network.SetFaults(Faults{})
	a.Send([]byte{255}, there, 0)
	batch := packet.NewBatch(packet.Room{})
	for !slices.Contains(got, 255) {
		if err := b.Read(batch); err != nil {
			t.Fatal(err)
		}
		for i := range batch.Len() {
			if batch.Path(i).Remote != here || batch.Path(i).Local != there.Addr() {
				t.Fatalf("datagram %d came along %+v", i, batch.Path(i))
			}
			got = append(got, batch.Packet(i)...)
		}
	}
	return got
}

func TestANetworkWithoutFaultsKeepsEverythingInOrder(t *testing.T) {
	got := exchange(t, 1, Faults{}, 200)
	if len(got) != 201 || !slices.IsSorted(got) {
		t.Fatalf("got %v", got)
	}
}

func TestFaultsHappenAsOftenAsAsked(t *testing.T) {
	if n := len(exchange(t, 1, Faults{Lose: 0.5}, 200)); n < 70 || n > 130 {
		t.Errorf("%d datagrams of 200 arrived, want about half", n)
	}
	if n := len(exchange(t, 1, Faults{Duplicate: 0.5}, 200)); n < 270 || n > 330 {
		t.Errorf("%d datagrams arrived of 200, half of them doubled", n)
	}
	got := exchange(t, 1, Faults{Reorder: 0.3}, 200)
	if len(got) != 201 || slices.IsSorted(got) {
		t.Errorf("%d datagrams arrived, in order: %v", len(got), slices.IsSorted(got))
	}
}

func TestASeedDecides(t *testing.T) {
	f := Faults{Lose: 0.2, Duplicate: 0.2, Reorder: 0.2}
	if a, b := exchange(t, 7, f, 100), exchange(t, 7, f, 100); !slices.Equal(a, b) {
		t.Errorf("one seed, two outcomes:\n%v\n%v", a, b)
	}
	if a, b := exchange(t, 7, f, 100), exchange(t, 8, f, 100); slices.Equal(a, b) {
		t.Error("two seeds, one outcome")
	}
}

func TestAMovedTransportIsElsewhere(t *testing.T) {
	network := NewNetwork(1)
	a, b := network.Listen(here), network.Listen(there)
	elsewhere := netip.MustParseAddrPort("[2001:db8::1]:9")
	b.Move(elsewhere)
	var seen []string
	network.Tap(func(from, to netip.AddrPort, d []byte) { seen = append(seen, fmt.Sprint(from, to, string(d))) })
	a.Send([]byte("lost"), there, 0)
	a.Send([]byte("found"), elsewhere, 0x8b)
	batch := packet.NewBatch(packet.Room{})
	if err := b.Read(batch); err != nil || batch.Len() != 1 || string(batch.Packet(0)) != "found" || batch.TOS(0) != 0x8b {
		t.Fatalf("got %d datagrams and %v", batch.Len(), err)
	}
	if len(seen) != 2 {
		t.Fatalf("the tap saw %v", seen)
	}
}

func TestCloseEndsReads(t *testing.T) {
	network := NewNetwork(1)
	tr, pipe := network.Listen(here), NewPipe(1420)
	ended := make(chan error)
	go func() { ended <- tr.Read(packet.NewBatch(packet.Room{})) }()
	go func() { ended <- pipe.Read(packet.NewBatch(packet.Room{})) }()
	tr.Close()
	pipe.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read returned %v", err)
		}
	}
	if pipe.Receive(context.Background()) != nil || pipe.Send(nil) {
		t.Error("a closed pipe still carries packets")
	}
	network.Listen(here) // the address is free again
}

func TestPacketsHaveRightChecksums(t *testing.T) {
	pkt := UDP(here, there, 60, []byte("x"))
	if Checksum(pkt[:20]) != 0 {
		t.Error("the header's checksum is wrong")
	}
}
