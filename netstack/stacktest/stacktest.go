// Package stacktest joins network stacks in memory. It is for tests only.
package stacktest

import (
	"net/netip"
	"sync"
	"testing"

	"adit/netstack"
	"adit/packet"
)

// New returns a Stack that has addresses and reaches their networks, and no other
// one. The test closes it.
func New(t testing.TB, cfg netstack.Config, addresses ...string) *netstack.Stack {
	t.Helper()
	for _, a := range addresses {
		p := netip.MustParsePrefix(a)
		cfg.Addresses = append(cfg.Addresses, p)
		cfg.Routes = append(cfg.Routes, p.Masked())
	}
	s, err := netstack.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Join puts a wire between two Stacks, as if an engine and its peer were there.
func Join(t testing.TB, a, b *netstack.Stack) {
	carry(t, a, b)
	carry(t, b, a)
}

// carry carries what a sends to b, in a goroutine of its own: gVisor holds locks
// while it sends.
func carry(t testing.TB, a, b *netstack.Stack) {
	full, free := make(chan *packet.Batch, 1024), make(chan *packet.Batch, 1024) // both never closed
	done := make(chan struct{})
	a.SetUpstream(func(batch *packet.Batch) {
		var in *packet.Batch
		select {
		case in = <-free:
		default:
			in = packet.NewBatch(packet.Room{})
		}
		in.Reset()
		for i := range batch.Len() {
			pkt := batch.Packet(i)
			copy(in.Append(len(pkt)), pkt)
		}
		select {
		case full <- in:
		case <-done:
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case in := <-full:
				b.Device().Write(in)
				select {
				case free <- in:
				default:
				}
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
}
