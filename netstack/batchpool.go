package netstack

import (
	"sync"

	"adit/packet"
)

// A batchPool keeps batches for packets that are made here. A batch is 128 KiB:
// as many live as goroutines send at the same moment, and idle ones are given
// back to the memory.
type batchPool struct {
	room packet.Room
	pool sync.Pool
}

// Get returns an empty batch.
func (p *batchPool) Get() *packet.Batch {
	if b, ok := p.pool.Get().(*packet.Batch); ok {
		b.Reset()
		b.SetRoom(p.room)
		return b
	}
	return packet.NewBatch(p.room)
}

// Put takes b back. The caller does not use it any more.
func (p *batchPool) Put(b *packet.Batch) { p.pool.Put(b) }
