package wgtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"adit/packet"
)

// Faults are what a Network does to datagrams, each a probability from 0 to 1.
type Faults struct {
	Lose      float64
	Duplicate float64
	Reorder   float64 // held back until the next datagram to the same place
}

// A Network carries datagrams between its Transports, in memory and at once.
// It is safe for concurrent use.
type Network struct {
	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	faults Faults
	nodes  map[netip.AddrPort]*Transport
	tap    func(from, to netip.AddrPort, datagram []byte)
}

// NewNetwork returns a network without faults, whose chances seed decides.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rng:   rand.New(rand.NewPCG(seed, seed)),
		nodes: make(map[netip.AddrPort]*Transport),
	}
}

// SetFaults changes what happens to datagrams sent from now on.
func (n *Network) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// Tap makes f see every datagram sent, lost ones included. f must not call the
// Network, nor keep or change the datagram. Nil ends it.
func (n *Network) Tap(f func(from, to netip.AddrPort, datagram []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = f
}

// queueLen is how many datagrams wait for a reader before more are lost.
const queueLen = 8192

// A datagram on its way.
type datagram struct {
	b    []byte
	path *packet.Path
	tos  uint8
}

// A Transport is one socket on a Network. It implements wg.Transport.
type Transport struct {
	net    *Network
	readyc chan struct{} // one element: there may be something in queue. Never closed
	done   chan struct{} // closed by Close
	once   sync.Once

	// Guarded by net.mu.
	addr  netip.AddrPort
	queue []datagram
	held  *datagram
	paths map[packet.Path]*packet.Path
}

// Listen returns a new socket at addr. It panics if the address is taken.
func (n *Network) Listen(addr netip.AddrPort) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[addr] != nil {
		panic(fmt.Sprintf("BUG: %v is taken", addr))
	}
	t := &Transport{
		net: n, addr: addr, paths: make(map[packet.Path]*packet.Path),
		readyc: make(chan struct{}, 1), done: make(chan struct{}),
	}
	n.nodes[addr] = t
	return t
}

// Move gives the socket another address: what is sent to the old one is lost
// from now on, what it sends comes from the new one.
func (t *Transport) Move(addr netip.AddrPort) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.net.nodes[addr] != nil {
		panic(fmt.Sprintf("BUG: %v is taken", addr))
	}
	delete(t.net.nodes, t.addr)
	t.addr = addr
	t.net.nodes[addr] = t
}

// Addr returns where the socket is.
func (t *Transport) Addr() netip.AddrPort {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	return t.addr
}

// Send sends one datagram, which it copies.
func (t *Transport) Send(b []byte, to netip.AddrPort, tos uint8) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.net.send(t.addr, to, b, tos)
}

// send decides what happens to a datagram. n.mu must be held.
func (n *Network) send(from, to netip.AddrPort, b []byte, tos uint8) {
	if n.tap != nil {
		n.tap(from, to, b)
	}
	t := n.nodes[to]
	if t == nil || n.chance(n.faults.Lose) {
		return
	}
	d := datagram{append([]byte(nil), b...), t.path(from, to), tos}
	if t.held == nil && n.chance(n.faults.Reorder) {
		t.held = &d
		return
	}
	t.deliver(d)
	if n.chance(n.faults.Duplicate) {
		d.b = append([]byte(nil), b...)
		t.deliver(d)
	}
	if t.held != nil {
		t.deliver(*t.held)
		t.held = nil
	}
}

func (n *Network) chance(p float64) bool { return p > 0 && n.rng.Float64() < p }

// path returns the same pointer for the same way, as wg wants.
func (t *Transport) path(remote, local netip.AddrPort) *packet.Path {
	key := packet.Path{Remote: remote, Local: local.Addr()}
	p := t.paths[key]
	if p == nil {
		p = &key
		t.paths[key] = p
	}
	return p
}

func (t *Transport) deliver(d datagram) {
	if len(t.queue) >= queueLen {
		return
	}
	t.queue = append(t.queue, d)
	select {
	case t.readyc <- struct{}{}:
	default:
	}
}

// Read implements wg.Transport.
func (t *Transport) Read(b *packet.Batch) error {
	b.Reset()
	for {
		if t.closed() {
			return net.ErrClosed
		}
		if t.take(b) > 0 {
			return nil
		}
		select {
		case <-t.readyc:
		case <-t.done:
			return net.ErrClosed
		}
	}
}

// take moves what fits from the queue into b.
func (t *Transport) take(b *packet.Batch) (n int) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	for n < len(t.queue) {
		d := &t.queue[n]
		m := b.Append(len(d.b))
		if m == nil {
			break
		}
		copy(m, d.b)
		b.SetPath(b.Len()-1, d.path)
		b.SetTOS(b.Len()-1, d.tos)
		n++
	}
	rest := copy(t.queue, t.queue[n:])
	clear(t.queue[rest:])
	t.queue = t.queue[:rest]
	if rest > 0 {
		select {
		case t.readyc <- struct{}{}:
		default:
		}
	}
	return n
}

// Write implements wg.Transport.
func (t *Transport) Write(b *packet.Batch) error {
	if t.closed() {
		return net.ErrClosed
	}
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	for i := range b.Len() {
		if d := b.Packet(i); len(d) > 0 {
			t.net.send(t.addr, b.Path(i).Remote, d, b.TOS(i))
		}
	}
	return nil
}

func (t *Transport) closed() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// Overhead implements wg.Transport.
func (t *Transport) Overhead() int { return 0 }

// Close implements wg.Transport.
func (t *Transport) Close() error {
	t.once.Do(func() {
		close(t.done)
		t.net.mu.Lock()
		defer t.net.mu.Unlock()
		if t.net.nodes[t.addr] == t {
			delete(t.net.nodes, t.addr)
		}
	})
	return nil
}
