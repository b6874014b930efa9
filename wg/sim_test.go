package wg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

// A world is cores in a simulated one (wgtest.Sim): hours of protocol take
// milliseconds, and a seed makes the same hours again. It keeps what tests of
// the protocol want to know beside what the eavesdropper does.
type world struct {
	*wgtest.Sim
	t     testing.TB
	now   Instant // as the Sim's; set it forward and everybody has slept
	nodes []*node

	// tap sees every datagram when it is sent, and may change it.
	tap func(from, to *node, d []byte)
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

// A node is one core and the host that it runs on.
type node struct {
	*wgtest.Host
	w    *world
	core *core
	out  *output
	key  PrivateKey

	got    [][]byte              // packets that came out of the tunnel
	gotBy  func(msg, pkt []byte) // if not nil, is called for each
	events []Event
	ask    []resolveRequest
	skew   time.Duration // of its time of day

	delivered func() // if not nil, is called after each call of the core

	lastInit []byte        // the initiation sent last
	lives    int           // how often it was started
	named    map[bond]uint // numbers of peers, for the eavesdropper
}

// A bond is a peer under one key of ours.
type bond struct {
	p    *peer
	self *identity
}

const simStart = Instant(1000 * time.Second)

// newWorld returns an empty world. If the test fails it says how to see it
// fail again.
func newWorld(t testing.TB, seed uint64) *world {
	w := &world{Sim: wgtest.NewSim(seed, time.Duration(simStart)), t: t, now: simStart}
	w.Weather.Delay = 10 * time.Millisecond
	w.Eve.Tap = w.hear
	return w
}

// hear keeps the log.
func (w *world) hear(h *wgtest.Heard) {
	n := w.on(h.Host)
	if n == nil {
		return
	}
	s := sighting{Instant(h.At), h.From, h.To, messageType(h.Data), len(h.Data), false}
	if s.kind == typeInitiation {
		s.copy = bytes.Equal(n.lastInit, h.Data)
		n.lastInit = h.Data
	}
	w.log = append(w.log, s)
	if w.tap != nil {
		w.tap(n, w.on(w.At(h.To, h.From)), h.Data)
	}
}

// on returns the node on h, nil if h is nil or none.
func (w *world) on(h *wgtest.Host) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.Host == h })
	if h == nil || i < 0 {
		return nil
	}
	return w.nodes[i]
}

// add returns a new core at addr. Its randomness comes from the world's seed.
func (w *world) add(addr netip.AddrPort) *node {
	n := &node{w: w}
	n.key = PrivateKey{b: w.bytes32()}
	n.key.clamp()
	n.restart()
	n.Host = w.Add(string(rune('a'+len(w.nodes))), addr, n)
	w.nodes = append(w.nodes, n)
	return n
}

func (w *world) bytes32() (b [32]byte) {
	for i := 0; i < 32; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], w.Rand.Uint64())
	}
	return b
}

// restart gives n a new core, which knows nothing but the key.
func (n *node) restart() {
	random := rand.NewChaCha8(n.w.bytes32())
	n.core = newCore(n.key, func(b []byte) { random.Read(b) },
		func(now Instant) time.Time { return time.Unix(1e9, int64(now)).Add(n.skew) })
	n.out = &output{room: Room(1420), pool: &sync.Pool{New: func() any { return packet.NewBatch(Room(1420)) }}}
	n.lives++
	n.named = make(map[bond]uint)
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
		n.out.pool.Put(b)
	}
	n.events = append(n.events, n.out.events...)
	n.ask = append(n.ask, n.out.resolve...)
	n.out.reset()
	if n.delivered != nil {
		n.delivered()
	}
}

func (n *node) transmit(b *packet.Batch) {
	n.w.Skip(time.Duration(n.w.now))
	for i := range b.Len() {
		if d := b.Packet(i); len(d) > 0 {
			n.Host.Send(b.Path(i).Remote, d, b.TOS(i), n.about(d))
		}
	}
}

// about names the peer whose handshake in flight d begins, for this life of
// the node and of the peer: whoever is forgotten, or gets to know us under
// another key, is somebody else after.
func (n *node) about(d []byte) string {
	if messageType(d) != typeInitiation {
		return ""
	}
	p := n.core.index.lookup(binary.LittleEndian.Uint32(d[4:])).peer
	if p == nil {
		return ""
	}
	b := bond{p, p.self}
	if n.named[b] == 0 {
		n.named[b] = uint(len(n.named)) + 1
	}
	return fmt.Sprintf("peer %d of life %d", n.named[b], n.lives)
}

// run lets d pass.
func (w *world) run(d time.Duration) { w.runUntil(w.now.after(d)) }

func (w *world) runUntil(end Instant) {
	w.Skip(time.Duration(w.now))
	w.RunUntil(time.Duration(end))
	w.now = Instant(w.Now())
}

// Next implements wgtest.Machine.
func (n *node) Next() time.Duration { return time.Duration(n.core.next()) }

// Advance implements wgtest.Machine.
func (n *node) Advance(now time.Duration) {
	n.w.now = Instant(now)
	n.core.advance(n.w.now, n.out)
	n.deliver()
}

// Receive implements wgtest.Machine.
func (n *node) Receive(now time.Duration, d wgtest.Datagram) {
	n.w.now = Instant(now)
	b := n.out.pool.Get().(*packet.Batch)
	b.Reset()
	b.SetRoom(packet.Room{})
	copy(b.Append(len(d.Data)), d.Data)
	b.SetPath(0, &packet.Path{Remote: d.From, Local: d.To.Addr()})
	b.SetTOS(0, d.TOS)
	n.core.receive(n.w.now, b, n.out)
	if pkt := b.Packet(0); len(pkt) > 0 {
		n.got = append(n.got, bytes.Clone(pkt))
		if n.gotBy != nil {
			n.gotBy(d.Data, pkt)
		}
	}
	n.out.pool.Put(b)
	n.deliver()
}

// send carries packets into n's tunnel.
func (n *node) send(pkts ...[]byte) { n.transmit(n.sealed(pkts...)) }

// sealed returns packets as they would be sent.
func (n *node) sealed(pkts ...[]byte) *packet.Batch {
	b := packet.NewBatch(Room(1420))
	for _, p := range pkts {
		copy(b.Append(len(p)), p)
	}
	n.w.Skip(time.Duration(n.w.now))
	n.core.seal(n.w.now, b, nil)
	return b
}

// fly sends a datagram that says it is from from.
func (w *world) fly(from, to netip.AddrPort, d []byte, tos uint8) {
	w.Skip(time.Duration(w.now))
	w.Inject(from, to, d, tos)
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
		if l.from == n.Addr() && l.kind == kind && !l.copy {
			s = append(s, l)
		}
	}
	return s
}

// newPair returns two nodes that know each other: a knows where b is. Change
// changes the peers before they are set.
func newPair(t testing.TB, seed uint64, change ...func(a, b *Peer)) (w *world, a, b *node) {
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
	ofB = Peer{PublicKey: b.key.Public(), AllowedIPs: allowed(insideB, inside6B), Endpoint: endpointAt(b.Addr())}
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
