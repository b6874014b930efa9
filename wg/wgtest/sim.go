package wgtest

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"time"
)

// A Sim is a world: hosts on a virtual clock, joined by a virtual network with
// weather, NATs and cables that can be cut. Nothing in it waits, so a week
// takes as long as what happens in it, and its seed makes the same week again,
// byte for byte.
//
// It has no goroutines: whoever calls Run is who calls the machines, and all
// of it is used by one goroutine at a time.
type Sim struct {
	Seed    uint64
	Rand    *rand.Rand // all chance of this world comes from here
	Weather Weather    // of datagrams sent from now on
	Eve     *Eavesdropper

	now    time.Duration
	hosts  []*Host // in the order in which they came
	nats   []*NAT
	byAddr map[netip.AddrPort]*Host
	cuts   map[[2]*Host]bool
	queue  eventQueue
	seq    int
	script hash.Hash64 // of everything that was sent and that arrived
}

// NewSim returns an empty world at the time now, which is not zero.
func NewSim(seed uint64, now time.Duration) *Sim {
	return &Sim{
		Seed: seed, Rand: rand.New(rand.NewPCG(seed, 1)), Eve: new(Eavesdropper), now: now,
		byAddr: make(map[netip.AddrPort]*Host), cuts: make(map[[2]*Host]bool), script: fnv.New64a(),
	}
}

// A Machine is what runs on a host. It is told the time and asked for none.
type Machine interface {
	// Receive takes a datagram, whose bytes it must not change or keep.
	Receive(now time.Duration, d Datagram)
	// Next returns when Advance is wanted; 0: never.
	Next() time.Duration
	// Advance does what is due.
	Advance(now time.Duration)
}

// A Datagram is what the network carries.
type Datagram struct {
	From, To netip.AddrPort // as they stand in it where it is
	TOS      uint8          // the outer IP header's, or its traffic class
	Data     []byte

	// About says whom the sender means by it. It is not on the wire: only the
	// eavesdropper's bookkeeping reads it.
	About string
}

// Now returns the time.
func (s *Sim) Now() time.Duration { return s.now }

// Skip sets the clock forward to at without anything happening: everybody
// slept. What was in the air arrives late.
func (s *Sim) Skip(at time.Duration) { s.now = max(s.now, at) }

// Add puts m on a new host at addr. It panics if the address is taken.
func (s *Sim) Add(name string, addr netip.AddrPort, m Machine) *Host {
	h := &Host{Name: name, sim: s, machine: m}
	s.hosts = append(s.hosts, h)
	h.Move(addr)
	return h
}

// After calls f when d has passed.
func (s *Sim) After(d time.Duration, f func()) { s.push(event{at: s.now + max(0, d), do: f}) }

// Run lets d pass.
func (s *Sim) Run(d time.Duration) { s.RunUntil(s.now + d) }

// RunUntil lets time pass until end. What is due at that very moment happens
// when it goes on; what arrives then has arrived.
func (s *Sim) RunUntil(end time.Duration) {
	for still := 0; ; still++ {
		at, due := s.next(end)
		before := s.now
		switch {
		case len(s.queue) > 0 && s.queue[0].at <= at:
			e := heap.Pop(&s.queue).(event)
			s.now = max(s.now, e.at)
			e.do()
		case due == nil:
			s.now = max(s.now, at)
			return
		default:
			s.now = max(s.now, at)
			due.machine.Advance(s.now)
		}
		if s.now != before {
			still = 0
		}
		if still > 100_000 {
			panic(fmt.Sprintf("BUG: the world stands still at %v", s.now))
		}
	}
}

// next returns the earliest deadline before end and whose it is.
func (s *Sim) next(end time.Duration) (at time.Duration, due *Host) {
	at = end
	for _, h := range s.hosts {
		if h.asleep {
			continue
		}
		if next := h.machine.Next(); next != 0 && next < at {
			at, due = next, h
		}
	}
	return at, due
}

// Transcript returns a hash of all that was sent and all that arrived, with
// when and where.
func (s *Sim) Transcript() uint64 { return s.script.Sum64() }

func (s *Sim) note(what byte, d *Datagram) {
	var b [64]byte
	p := append(b[:0], what, d.TOS)
	p = binary.BigEndian.AppendUint64(p, uint64(s.now))
	p = d.From.Addr().AppendTo(p)
	p = binary.BigEndian.AppendUint16(p, d.From.Port())
	s.script.Write(binary.BigEndian.AppendUint16(p, d.To.Port()))
	s.script.Write(d.Data)
}

// Chance reports true with probability p.
func (s *Sim) Chance(p float64) bool { return p > 0 && s.Rand.Float64() < p }

// An event is something that will happen.
type event struct {
	at  time.Duration
	seq int // of two at once the earlier made comes first
	do  func()
	d   *Datagram // if it is one that arrives
}

func (s *Sim) push(e event) {
	s.seq++
	e.seq = s.seq
	heap.Push(&s.queue, e)
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
