package wg

import (
	"container/heap"
	"sync"
	"sync/atomic"
)

// An agenda knows which peer wants to be asked next, and when. A peer's entry
// is never later than its earliest deadline, but may be earlier: deadlines that
// move away are found out when the entry comes up, so that the data path, which
// moves them all the time, seldom comes here.
type agenda struct {
	first atomic.Int64 // the earliest entry's Instant; 0: none

	mu   sync.Mutex // guards what follows, and the peers' agendaAt and agendaPos
	heap agendaHeap
}

// earliest returns when the first peer is due, or 0.
func (a *agenda) earliest() Instant { return Instant(a.first.Load()) }

// schedule makes sure that p comes up at or before at.
func (a *agenda) schedule(p *peer, at Instant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case p.agendaPos == 0:
		p.agendaAt = at
		heap.Push(&a.heap, p)
	case at < p.agendaAt:
		p.agendaAt = at
		heap.Fix(&a.heap, p.agendaPos-1)
	}
	a.first.Store(int64(a.heap[0].agendaAt))
}

// due takes out and returns a peer whose entry is at or before now; nil if
// there is none.
func (a *agenda) due(now Instant) *peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heap) == 0 || a.heap[0].agendaAt > now {
		return nil
	}
	p := heap.Pop(&a.heap).(*peer)
	a.first.Store(0)
	if len(a.heap) > 0 {
		a.first.Store(int64(a.heap[0].agendaAt))
	}
	return p
}

// remove takes p out.
func (a *agenda) remove(p *peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.agendaPos == 0 {
		return
	}
	heap.Remove(&a.heap, p.agendaPos-1)
	a.first.Store(0)
	if len(a.heap) > 0 {
		a.first.Store(int64(a.heap[0].agendaAt))
	}
}

// agendaHeap is a heap of peers by agendaAt. agendaPos is the place plus one.
type agendaHeap []*peer

func (h agendaHeap) Len() int           { return len(h) }
func (h agendaHeap) Less(i, j int) bool { return h[i].agendaAt < h[j].agendaAt }
func (h agendaHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].agendaPos, h[j].agendaPos = i+1, j+1
}

func (h *agendaHeap) Push(x any) {
	p := x.(*peer)
	*h = append(*h, p)
	p.agendaPos = len(*h)
}

func (h *agendaHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.agendaPos = 0
	return p
}
