package wg

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"adit/packet"
)

// A world is cores on a virtual clock, joined by a virtual network. Nothing in
// it waits: hours of protocol take milliseconds, and a seed makes the same
// hours again.
type world struct {
	t     *testing.T
	now   Instant
	rng   *rand.Rand
	nodes map[netip.AddrPort]*node
	air   []flying // sorted by arrival

	lose, duplicate float64
	delay, spread   time.Duration // of a datagram: delay to delay+spread, so they overtake

	// tap sees every datagram when it is sent.
	tap func(from, to *node, b []byte)
	log []sighting
}

// A sighting is a datagram that was sent.
type sighting struct {
	at       Instant
	from, to netip.AddrPort
	kind     uint32
	size     int
	copy     bool // of the initiation sent before
}

type flying struct {
	at  Instant
	seq int
	to  netip.AddrPort
	way *packet.Path
	b   []byte
	ecn uint8
}

// A node is one core and where it is.
type node struct {
	w    *world
	core *core
	out  *output
	addr netip.AddrPort
	key  PrivateKey

	got    [][]byte // packets that came out of the tunnel
	events []Event
	ask    []resolveRequest
	skew   time.Duration // of its time of day
	deaf   bool          // datagrams to it are lost

	lastInit []byte // the initiation sent last
}

const simStart = Instant(1000 * time.Second)

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, now: simStart, rng: rand.New(rand.NewPCG(seed, 1)), delay: 10 * time.Millisecond,
		nodes: make(map[netip.AddrPort]*node),
	}
}

// add returns a new core at addr. Its randomness comes from the world's seed.
func (w *world) add(addr netip.AddrPort) *node {
	n := &node{w: w, addr: addr}
	n.key = PrivateKey{b: w.bytes32()}
	n.key.clamp()
	n.restart()
	w.nodes[addr] = n
	return n
}

func (w *world) bytes32() (b [32]byte) {
	for i := 0; i < 32; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], w.rng.Uint64())
	}
	return b
}

// restart gives n a new core, which knows nothing but the key.
func (n *node) restart() {
	random := rand.NewChaCha8(n.w.bytes32())
	n.core = newCore(n.key, Room(1420), func(b []byte) { random.Read(b) },
		func(now Instant) time.Time { return time.Unix(1e9, int64(now)).Add(n.skew) })
	n.out = &output{room: n.core.room, pool: &sync.Pool{New: func() any { return packet.NewBatch(n.core.room) }}}
}

// peers configures n.
func (n *node) peers(peers ...Peer) {
	n.w.t.Helper()
	if err := n.core.setPeers(n.w.now, peers, true, n.out); err != nil {
		n.w.t.Fatal(err)
	}
	n.deliver()
}

// deliver does what the core wants.
func (n *node) deliver() {
	for _, b := range n.out.send {
		n.transmit(b)
	}
	n.events = append(n.events, n.out.events...)
	n.ask = append(n.ask, n.out.resolve...)
	n.out.reset()
}

func (n *node) transmit(b *packet.Batch) {
	w := n.w
	for i := range b.Len() {
		d := b.Packet(i)
		if len(d) == 0 {
			continue
		}
		to := b.Path(i).Remote
		s := sighting{w.now, n.addr, to, messageType(d), len(d), false}
		if s.kind == typeInitiation {
			s.copy = bytes.Equal(n.lastInit, d)
			n.lastInit = bytes.Clone(d)
		}
		w.log = append(w.log, s)
		if w.tap != nil {
			w.tap(n, w.nodes[to], d)
		}
		copies := 1
		if w.rng.Float64() < w.duplicate {
			copies = 2
		}
		for range copies {
			if w.rng.Float64() >= w.lose {
				w.fly(n.addr, to, d, b.ECN(i))
			}
		}
	}
}

// fly puts a datagram into the air.
func (w *world) fly(from, to netip.AddrPort, d []byte, ecn uint8) {
	at := w.now.after(w.delay)
	if w.spread > 0 {
		at = at.after(time.Duration(w.rng.Int64N(int64(w.spread))))
	}
	f := flying{at, len(w.log), to, &packet.Path{Remote: from, Local: to.Addr()}, bytes.Clone(d), ecn}
	i, _ := slices.BinarySearchFunc(w.air, f, func(a, b flying) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq), -1)
	})
	w.air = slices.Insert(w.air, i, f)
}

// run lets d pass.
func (w *world) run(d time.Duration) { w.runUntil(w.now.after(d)) }

func (w *world) runUntil(end Instant) {
	for {
		at, due := end, (*node)(nil)
		for _, n := range w.sorted() {
			if next := n.core.next(); next != 0 && next < at {
				at, due = next, n
			}
		}
		if len(w.air) > 0 && w.air[0].at <= at {
			f := w.air[0]
			w.air = w.air[1:]
			w.now = max(w.now, f.at)
			if n := w.nodes[f.to]; n != nil && !n.deaf {
				n.receive(f)
			}
			continue
		}
		w.now = max(w.now, at)
		if due == nil {
			return
		}
		due.core.advance(w.now, due.out)
		due.deliver()
	}
}

// sorted returns the nodes in an order that does not depend on the map's.
func (w *world) sorted() []*node {
	var nodes []*node
	for _, n := range w.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return a.addr.Compare(b.addr) })
	return nodes
}

func (n *node) receive(f flying) {
	b := packet.NewBatch(packet.Room{})
	copy(b.Append(len(f.b)), f.b)
	b.SetPath(0, f.way)
	b.SetECN(0, f.ecn)
	n.core.receive(n.w.now, b, n.out)
	n.deliver()
	if pkt := b.Packet(0); len(pkt) > 0 {
		n.got = append(n.got, bytes.Clone(pkt))
	}
}

// send carries packets into n's tunnel.
func (n *node) send(pkts ...[]byte) {
	b := packet.NewBatch(n.core.room)
	for _, p := range pkts {
		copy(b.Append(len(p)), p)
	}
	n.core.seal(n.w.now, b, nil)
	n.transmit(b)
}

// peer returns n's only peer, or that with the key of o.
func (n *node) peer(o ...*node) *peer {
	for key, p := range n.core.roster.Load().byKey {
		if len(o) == 0 || key == o[0].key.Public() {
			return p
		}
	}
	n.w.t.Fatal("there is no such peer")
	return nil
}

// count returns how many events of that kind n has had.
func (n *node) count(k EventKind) (c int) {
	for _, e := range n.events {
		if e.Kind == k {
			c++
		}
	}
	return c
}

// sent returns what n sent of that kind since the beginning, copies left out.
func (n *node) sent(kind uint32) (s []sighting) {
	for _, l := range n.w.log {
		if l.from == n.addr && l.kind == kind && !l.copy {
			s = append(s, l)
		}
	}
	return s
}

// move gives n another address.
func (n *node) move(addr netip.AddrPort) {
	delete(n.w.nodes, n.addr)
	n.addr = addr
	n.w.nodes[addr] = n
}

// newPair returns two nodes that know each other: a knows where b is. Change
// changes the peers before they are set.
func newPair(t *testing.T, seed uint64, change ...func(a, b *Peer)) (w *world, a, b *node) {
	t.Helper()
	w = newWorld(t, seed)
	a, b = w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	for _, f := range change {
		f(&ofA, &ofB)
	}
	a.peers(ofB)
	b.peers(ofA)
	return w, a, b
}

// pairConfig returns how b knows a, and how a knows b.
func (w *world) pairConfig(a, b *node) (ofA, ofB Peer) {
	ofA = Peer{PublicKey: a.key.Public(), AllowedIPs: allowed(insideA, inside6A)}
	ofB = Peer{PublicKey: b.key.Public(), AllowedIPs: allowed(insideB, inside6B), Endpoint: endpointAt(b.addr)}
	return ofA, ofB
}

func (w *world) mustGet(n *node, want ...[]byte) {
	w.t.Helper()
	if len(n.got) != len(want) {
		w.t.Fatalf("%d packets came out of the tunnel, want %d", len(n.got), len(want))
	}
	for i := range want {
		if !bytes.Equal(n.got[i], want[i]) {
			w.t.Fatalf("packet %d came out as %x, want %x", i, n.got[i], want[i])
		}
	}
	n.got = nil
}

func describe(log []sighting) (s string) {
	for _, l := range log {
		s += fmt.Sprintf("\n%v %v → %v: type %d, %d bytes", time.Duration(l.at-simStart), l.from, l.to, l.kind, l.size)
	}
	return s
}

// sealed returns packets as they would be sent.
func (n *node) sealed(pkts ...[]byte) *packet.Batch {
	b := packet.NewBatch(n.core.room)
	for _, p := range pkts {
		copy(b.Append(len(p)), p)
	}
	n.core.seal(n.w.now, b, nil)
	return b
}
