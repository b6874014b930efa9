//go:build !race

package wg_test

import (
	"runtime"
	"testing"

	"adit/wg"
)

// TestTheWholeWayDoesNotAllocate: split, route, seal, send; receive, open, replay
// window, merge: what two runs of which one is longer allocate differs by nothing
// that grows with the packets.
func TestTheWholeWayDoesNotAllocate(t *testing.T) {
	var packets [2]int
	var mallocs [2]uint64
	for i, bytes := range []int{2 << 20, 34 << 20} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, got := range crowds(t, bytes, [2]bool{}, func(tr wg.Transport) wg.Transport { return tr }) {
			packets[i] += got.Arrived
		}
		runtime.ReadMemStats(&after)
		mallocs[i] = after.Mallocs - before.Mallocs
	}
	more, n := packets[1]-packets[0], int64(mallocs[1]-mallocs[0])
	t.Logf("%d allocations for %d packets more", n, more)
	if n > int64(more/100) {
		t.Errorf("%d allocations for %d packets, want none for each", n, more)
	}
}
