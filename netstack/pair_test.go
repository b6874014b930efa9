package netstack

import (
	"slices"
	"sync"
	"testing"

	"adit/packet"
)

// A pair is two Stacks with a wire between them, as if an engine and its peer
// were there: near is ours, far is the rest of the world.
type pair struct {
	near, far *Stack
}

// newPair joins two Stacks. The far one has 192.0.2.1 and 2001:db8::1 and
// lets everybody in.
func newPair(t testing.TB, near Config) pair {
	t.Helper()
	if near.Addresses == nil {
		near = tunnelConfig(nil)
	}
	p := pair{
		near: newTestStack(t, near),
		far: newTestStack(t, Config{
			Addresses: mustPrefixes("192.0.2.1/24", "2001:db8::1/64"),
			Routes:    mustPrefixes("10.9.0.0/24", "fd00:9::/64"),
			Expose:    Exposed{All: true},
		}),
	}
	join(t, p.near, p.far)
	join(t, p.far, p.near)
	return p
}

// join carries what a sends to b, in a goroutine of its own: gVisor holds locks
// while it sends.
func join(t testing.TB, a, b *Stack) {
	wire := make(chan []byte, 4096)
	done := make(chan struct{})
	a.SetUpstream(func(batch *packet.Batch) {
		for i := range batch.Len() {
			select {
			case wire <- slices.Clone(batch.Packet(i)):
			case <-done:
			}
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		in := packet.NewBatch(testRoom)
		for {
			in.Reset()
			select {
			case pkt := <-wire:
				copy(in.Append(len(pkt)), pkt)
			case <-done:
				return
			}
			for in.Len() < 64 && len(wire) > 0 {
				pkt := <-wire
				copy(in.Append(len(pkt)), pkt)
			}
			if b.Device().Write(in) != nil {
				return
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
}
