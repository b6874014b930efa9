package netstack

import (
	"math/rand/v2"
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
	join(t, p.near, p.far, nil)
	join(t, p.far, p.near, nil)
	return p
}

// A wire carries batches from one Stack to another and does not allocate once
// it has as many as are on the way at once.
type wire struct {
	full, free chan *packet.Batch
	done       chan struct{}
}

// wireLen is how many batches are on the way at most.
const wireLen = 1024

// join carries what a sends to b, in a goroutine of its own: gVisor holds locks
// while it sends. If mangle is not nil it is shown every packet, by that
// goroutine, and writes to b what is to arrive.
func join(t testing.TB, a, b *Stack, mangle func(pkt []byte, b *packet.Batch)) {
	w := &wire{make(chan *packet.Batch, wireLen), make(chan *packet.Batch, wireLen), make(chan struct{})}
	a.SetUpstream(w.send)
	var wg sync.WaitGroup
	wg.Go(func() { w.carry(b, mangle) })
	t.Cleanup(func() { close(w.done); wg.Wait() })
}

func (w *wire) send(batch *packet.Batch) {
	var in *packet.Batch
	select {
	case in = <-w.free:
	default:
		in = packet.NewBatch(testRoom)
	}
	in.Reset()
	for i := range batch.Len() {
		pkt := batch.Packet(i)
		copy(in.Append(len(pkt)), pkt)
	}
	select {
	case w.full <- in:
	case <-w.done:
	}
}

func (w *wire) carry(b *Stack, mangle func(pkt []byte, b *packet.Batch)) {
	mangled := packet.NewBatch(testRoom)
	for {
		var in *packet.Batch
		select {
		case in = <-w.full:
		case <-w.done:
			return
		}
		arrives := in
		if mangle != nil {
			mangled.Reset()
			for i := range in.Len() {
				mangle(in.Packet(i), mangled)
			}
			arrives = mangled
		}
		if b.Device().Write(arrives) != nil {
			return
		}
		select {
		case w.free <- in:
		default:
		}
	}
}

// badWeather returns a mangle that loses one packet in a hundred, doubles one,
// and lets one be overtaken by the next.
func badWeather(seed uint64) func(pkt []byte, b *packet.Batch) {
	rng := rand.New(rand.NewPCG(seed, 0))
	var late []byte
	return func(pkt []byte, b *packet.Batch) {
		put := func(pkt []byte) { copy(b.Append(len(pkt)), pkt) }
		switch rng.IntN(100) {
		case 0:
			return
		case 1:
			put(pkt)
		case 2:
			if late == nil {
				late = slices.Clone(pkt)
				return
			}
		}
		put(pkt)
		if late != nil {
			put(late)
			late = nil
		}
	}
}
