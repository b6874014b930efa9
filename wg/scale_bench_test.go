package wg

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

// scaleInside is the address inside the tunnel of peer i.
func scaleInside(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 5000)
}

// zeros is randomness enough where nothing is to be kept secret.
func zeros() func([]byte) {
	r := rand.NewChaCha8([32]byte{})
	return func(b []byte) { r.Read(b) }
}

// manySessions returns two cores with n peers each, and a session between peer i
// of the one and peer i of the other. What is sent to the address of peer i may
// also come from there.
func manySessions(tb testing.TB, n int) (near, far *core) {
	tb.Helper()
	list := make([]Peer, n)
	for i := range list {
		list[i] = Peer{PublicKey: fixedPublic(i), AllowedIPs: allowed(scaleInside(i)), Endpoint: endpointAt(outsideB)}
	}
	wall := func(Instant) time.Time { return time.Time{} }
	near, far = newCore(fixedKey(1), zeros(), wall), newCore(fixedKey(2), zeros(), wall)
	for _, c := range []*core{near, far} {
		if err := c.setPeers(simStart, list, false, &output{}); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range n {
		p, q := near.roster.Load().list[i], far.roster.Load().list[i]
		key := func(which byte) *[32]byte { return &[32]byte{which, byte(i), byte(i >> 8)} }
		atNear, atFar := near.index.add(p, near.random), far.index.add(q, far.random)
		for _, side := range []struct {
			c *core
			p *peer
			s *session
		}{
			{near, p, newSession(simStart, key(1), key(2), atNear, atFar, true)},
			{far, q, newSession(simStart, key(2), key(1), atFar, atNear, true)},
		} {
			side.p.mu.Lock()
			side.c.installInitiated(side.p, side.s)
			side.p.timers.sessionDerived(simStart)
			side.p.touch(&side.c.agenda)
			side.p.mu.Unlock()
		}
	}
	return near, far
}

// carry returns what seals 64 packets of that size and opens them at the other
// end: in one batch all to one peer, in the next to another; or, if mixed, each
// to another than the one before.
func carry(tb testing.TB, peers, size int, mixed bool) func() {
	near, far := manySessions(tb, peers)
	return carryBetween(tb, near, far, peers, size, mixed)
}

// carryBetween is carry between two cores that are there.
func carryBetween(tb testing.TB, near, far *core, peers, size int, mixed bool) func() {
	const batch = 64
	pkts := make([][]byte, peers)
	for i := range pkts {
		pkts[i] = wgtest.UDP(scaleInside(i), scaleInside(i), size, nil)
	}
	b, out := packet.NewBatch(Room(1420)), &output{}
	way := &packet.Path{Remote: outsideB}
	turn := 0
	return func() {
		b.Reset()
		turn += 7919
		for i := range batch {
			to := turn
			if mixed {
				to += i * 7919
			}
			copy(b.Append(size), pkts[to%peers])
		}
		near.seal(simStart, b, nil)
		for i := range batch {
			b.SetPath(i, way)
		}
		far.receive(simStart, b, out)
		if len(b.Packet(batch-1)) != size || len(b.Packet(0)) != size {
			tb.Fatal("the packets did not come through")
		}
	}
}

// BenchmarkPeers is the core's way of a batch of 64 packets, both ends, for one
// peer and for a thousand that take turns batch by batch or packet by packet.
func BenchmarkPeers(b *testing.B) {
	for _, size := range []int{100, 1420} {
		for _, c := range []struct {
			name  string
			peers int
			mixed bool
		}{{"1", 1, false}, {"1000-by-batch", 1000, false}, {"1000-by-packet", 1000, true}} {
			b.Run(fmt.Sprintf("%d/%s", size, c.name), func(b *testing.B) {
				once := carry(b, c.peers, size, c.mixed)
				for range c.peers { // every replay window is there
					once()
				}
				b.SetBytes(int64(64 * size))
				b.ReportAllocs()
				for b.Loop() {
					once()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/pkt")
			})
		}
	}
}

// BenchmarkRoute is the search for the peer of each of 64 packets, all to one
// address or each to another of those that there are.
func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{1, 1000, 100000} {
		c := newCore(fixedKey(1), zeros(), nil)
		r := &roster{}
		var addrs []netip.Addr
		rng := rand.New(rand.NewPCG(1, 1))
		to := make([]*peer, min(n, 1000))
		for i := range to {
			to[i] = &peer{}
		}
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))})
			addrs = append(addrs, a)
			r.routes.insert(netip.PrefixFrom(a, 32-i%3), to[i%len(to)])
		}
		c.roster.Store(r)
		for _, each := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/different=%v", n, each), func(b *testing.B) {
				const batches = 256
				var list [batches]*packet.Batch
				for k := range list {
					list[k] = packet.NewBatch(packet.Room{})
					a := addrs[rng.IntN(n)]
					for range 64 {
						if each {
							a = addrs[rng.IntN(n)]
						}
						copy(list[k].Append(60), wgtest.UDP(insideA, netip.AddrPortFrom(a, 1), 60, nil))
					}
				}
				var peers [packet.MaxPackets]*peer
				b.ReportAllocs()
				for k := 0; b.Loop(); k++ {
					c.route(list[k%batches], &peers, nil)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/pkt")
			})
		}
	}
}

// BenchmarkManyAllowedIPs is the core's way of a batch of 64 packets of one flow,
// both ends, through a table of so many prefixes.
func BenchmarkManyAllowedIPs(b *testing.B) {
	for _, n := range []int{1, 1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			near, far := manySessions(b, 1)
			rng := rand.New(rand.NewPCG(1, 1))
			for _, c := range []*core{near, far} {
				r := *c.roster.Load()
				for range n - 1 {
					a := netip.AddrFrom4([4]byte{10, byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))})
					r.routes.insert(netip.PrefixFrom(a, 32), r.list[0])
				}
				c.roster.Store(&r)
			}
			once := carryBetween(b, near, far, 1, 1420, false)
			b.SetBytes(64 * 1420)
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
	}
}

// BenchmarkReplayWindow is what one counter costs, in order and as the network
// mixes them.
func BenchmarkReplayWindow(b *testing.B) {
	for _, c := range []struct {
		name string
		next func(i uint64) uint64
	}{
		{"in-order", func(i uint64) uint64 { return i }},
		{"mixed", func(i uint64) uint64 { return i ^ 7 }},
		{"with-gaps", func(i uint64) uint64 { return i * 100 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var w replayWindow
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				if !w.accept(c.next(i)) {
					b.Fatal("refused")
				}
			}
		})
	}
}

// What a gateway needs for each peer that is there: state and two keys, and a
// kilobyte for the replay window once something came.
func TestAPeerWithASessionIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("measures the heap with 2000 peers")
	}
	const n = 2000
	for i := range n { // what the keys leave behind does not count
		fixedPublic(i)
	}
	before := liveHeap()
	near, far := manySessions(t, n)
	idle := (liveHeap() - before) / (2 * n)
	for i, p := range far.roster.Load().list {
		p.current.Load().replay = new(replayWindow)
		near.roster.Load().list[i].current.Load().replay = new(replayWindow)
	}
	busy := (liveHeap() - before) / (2 * n)
	t.Logf("a peer with a session: %d bytes, with one that was received in %d", idle, busy)
	if idle > 1500 || busy > 2700 {
		t.Errorf("a peer with a session costs %d bytes, or %d, want at most 1500 and 2700", idle, busy)
	}
	runtime.KeepAlive(near)
	runtime.KeepAlive(far)
}
