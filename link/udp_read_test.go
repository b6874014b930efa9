package link

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"adit/packet"
	"golang.org/x/sys/unix"
)

func TestSlotsFollowWhatTheKernelDelivers(t *testing.T) {
	var slots []string
	datagrams := 0
	segment, cut, size := int32(0), false, 1400
	u, b := fakeReceive(t, func(m []mmsghdr) int {
		slots = append(slots, fmt.Sprint(len(m)))
		for i := range m {
			put(&m[i], size, segment)
		}
		if cut {
			m[0].hdr.Flags = unix.MSG_TRUNC
		}
		return len(m)
	})
	read := func() {
		if err := u.Read(b); err != nil {
			t.Fatal(err)
		}
		datagrams += b.Len()
	}
	// after reads until so many datagrams came and returns the slots.
	after := func(n int) string {
		slots, datagrams = nil, 0
		for datagrams < n {
			read()
		}
		return strings.Join(slices.Compact(slots), " ")
	}
	const few = groGiveUp / 2 // datagrams
	segment = 700
	if got := after(4 * groGiveUp); got != "2" {
		t.Errorf("with GRO: %s slots, want 2", got)
	}
	segment, size = 0, 100
	if got := after(4 * groGiveUp); got != "2 1" {
		t.Errorf("short datagrams: %s slots, want 2, then one by one", got)
	}
	size = 1400
	if got := after(few); got != "1" {
		t.Errorf("some long datagrams: %s slots, want 1", got)
	}
	segment = 700
	if got := after(1); got != "1" {
		t.Errorf("merged datagrams among them: %s slots, want 1 for this time", got)
	}
	segment = 0
	if got := after(groGiveUp * 9 / 10); got != "2 1" {
		t.Errorf("long datagrams again: %s slots, want 2, then 1: they are counted from the last merged one on", got)
	}
	if got := after(groGiveUp / 2); got != "1 64" {
		t.Errorf("long datagrams without end: %s slots, want 64 in the end", got)
	}
	if got := after((groRetry - 20) * 64); got != "64" {
		t.Errorf("later: %s slots, want 64", got)
	}
	if got := after(20 * 64); got != "64 2 1" {
		t.Errorf("much later: %s slots, want 2 as a trial, then 1", got)
	}
	if got := after(groGiveUp); got != "1 64" {
		t.Errorf("after the trial: %s slots, want 64", got)
	}
	cut = true
	read()
	cut = false
	if got := after(4 * groGiveUp); got != "2 1" {
		t.Errorf("after a datagram was cut off: %s slots, want big ones for good", got)
	}
}

// Single datagrams where merged ones could come are taken out in one Read all
// the same, each as it was sent.
func TestAQueueOfSingleDatagramsIsReadAtOnce(t *testing.T) {
	a, z := mustListen(t, UDPOptions{DisableOffload: true}), mustListen(t, UDPOptions{})
	if !z.in.canGRO {
		t.Skip("no UDP_GRO here")
	}
	path := &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}
	out, in := packet.NewBatch(packet.Room{}), packet.NewBatch(packet.Room{})
	most := 0
	for round := range 4 {
		sizes := make([]int, 100)
		for i := range sizes {
			sizes[i] = 1 + (i*397+round)%1452
		}
		fill(out, path, 0, sizes...)
		if err := a.Write(out); err != nil {
			t.Fatal(err)
		}
		for k := 0; k < len(sizes); {
			if err := z.Read(in); err != nil {
				t.Fatal(err)
			}
			most = max(most, in.Len())
			for i := range in.Len() {
				if !bytes.Equal(in.Packet(i), datagram(k, sizes[k])) {
					t.Fatalf("round %d: datagram %d is not the one sent", round, k)
				}
				k++
			}
		}
	}
	if most < 20 {
		t.Errorf("no more than %d datagrams came with one Read, of 100 that were there", most)
	}
}

// Anybody can send empty datagrams, which are nothing to us, as fast as we take
// them: what came before them is not held back for that, nor is the end of a
// socket that is closed.
func TestAFloodOfEmptyDatagramsHoldsNothingBack(t *testing.T) {
	for _, first := range []int{0, 1400} {
		calls := 0
		u, b := fakeReceive(t, func(m []mmsghdr) int {
			if calls++; calls > 100*packet.MaxPackets {
				return 0 // the flood ends, for the test to
			}
			for i := range m {
				put(&m[i], 0, 0)
			}
			if calls == 1 {
				put(&m[0], first, 0)
			}
			return len(m)
		})
		u.in.queue = true
		u.in.b = b
		u.in.receive(0)
		u.in.b = nil
		if calls > packet.MaxPackets {
			t.Errorf("%d bytes and then a flood: %d system calls without a look at anything else", first, calls)
		}
	}
}
