//go:build !race

package link

import (
	"net/netip"
	"testing"

	"adit/packet"
)

// Only our own share: the kernel's is not counted. Under the race detector a
// sync.Pool forgets at random.
func TestWriteAndReadDoNotAllocate(t *testing.T) {
	a, z := mustListen(t, UDPOptions{}), mustListen(t, UDPOptions{})
	b, in := packet.NewBatch(packet.Room{}), packet.NewBatch(packet.Room{})
	fill(b, &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), z.LocalPort())}, 1, same(40, 1452)...)
	if n := testing.AllocsPerRun(200, func() {
		if a.Write(b) != nil {
			t.Error("Write failed")
		}
		for got := 0; got < 40; got += in.Len() {
			if z.Read(in) != nil {
				t.Error("Read failed")
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
