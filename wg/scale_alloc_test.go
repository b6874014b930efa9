//go:build !race

package wg

import "testing"

// A batch costs no allocation, however many peers its packets are for.
func TestTrafficOfManyPeersDoesNotAllocate(t *testing.T) {
	const peers = 200
	once := carry(t, peers, 1420, true)
	for range peers {
		once()
	}
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Fatalf("64 packets of as many peers allocate %v times, want 0", n)
	}
}
