package broker

import (
	"net/netip"
	"sync"
	"testing"

	"adit/netstack"
	"adit/packet"
)

// Addresses of newNetwork.
var (
	near4 = netip.MustParseAddr("10.9.0.2")
	near6 = netip.MustParseAddr("fd09::2")
	far4  = netip.MustParseAddr("10.9.0.1")
	other = netip.MustParseAddr("10.9.0.3") // of the far Stack too
	far6  = netip.MustParseAddr("fd09::1")
)

// newNetwork joins two Stacks by a wire, as if an engine and its peer were there:
// near is ours, far is the rest of the world. Both let everybody in. The tunnel covers
// their networks and no other one.
//
//	10.9.0.2, fd09::2  near ═══ far  10.9.0.1, 10.9.0.3, fd09::1
func newNetwork(t testing.TB) (near, far *netstack.Stack) {
	t.Helper()
	near = newTestStack(t, "10.9.0.2/24", "fd09::2/64")
	far = newTestStack(t, "10.9.0.1/24", "10.9.0.3/24", "fd09::1/64")
	join(t, near, far)
	join(t, far, near)
	return near, far
}

func newTestStack(t testing.TB, addresses ...string) *netstack.Stack {
	t.Helper()
	cfg := netstack.Config{Expose: netstack.Exposed{All: true}}
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

// join carries what a sends to b, in a goroutine of its own: gVisor holds locks
// while it sends.
func join(t testing.TB, a, b *netstack.Stack) {
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
