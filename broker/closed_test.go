package broker

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// silent is an address of the far network that nobody has.
const silent = "10.9.0.77:7"

// Where nothing is borrowed, a connect that is pending holds a copy of the program's
// socket; the program may close its own.
func TestPendingConnectEndsWithItsSocket(t *testing.T) {
	near, _ := newNetwork(t)
	var gone []uint64
	b, err := New(Config{Dialer: near, Addresses: []netip.Addr{near4}, Closed: func(inodes map[uint64]bool) map[uint64]bool {
		closed := make(map[uint64]bool)
		for ino := range inodes {
			closed[ino] = slices.Contains(gone, ino)
		}
		return closed
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.streams.watched = true // by this test
	w := &streamWorld{t: t, b: b}
	kept, closed := w.socket(unix.AF_INET, true), w.socket(unix.AF_INET6, true)
	kept.wantConnect(silent, unix.EINPROGRESS)
	closed.wantConnect("[fd09::77]:7", unix.EINPROGRESS)
	keptDial, _ := b.streams.dialOf(kept.inode())
	d, _ := b.streams.dialOf(closed.inode())

	gone = []uint64{closed.inode()}
	closed.close()
	looks := b.endOrphaned(nil)
	for range 2 {
		if len(looks) != 2 || looks[keptDial] {
			t.Fatalf("got %v, want two dials, none ended early", looks)
		}
		select {
		case <-d.done:
			t.Fatal("the dial has ended before its socket was found closed twice")
		default:
		}
		looks = b.endOrphaned(looks)
	}
	b.endOrphaned(looks)
	<-d.done
	if again, _ := b.streams.dialOf(kept.inode()); again != keptDial {
		t.Error("the dial of a socket that is open has ended")
	}
}
