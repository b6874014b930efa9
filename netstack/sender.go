package netstack

import (
	"sync"

	"adit/packet"
)

// A sender is what a goroutine needs to send packets that are made here: a
// batch, and memory to lay a super-packet out in one piece before it is split.
type sender struct {
	batch   *packet.Batch
	split   packet.Splitter
	scratch [maxSuperPacket]byte
}

// maxSuperPacket is the most bytes that gVisor hands over as one packet: what
// the length field of IPv4 can say.
const maxSuperPacket = 65535

// A senderPool keeps senders. Each is 192 KiB: as many live as goroutines send
// at the same moment, and idle ones are given back to the memory.
type senderPool struct {
	room packet.Room
	pool sync.Pool
}

// Get returns a sender with an empty batch.
func (p *senderPool) Get() *sender {
	s, ok := p.pool.Get().(*sender)
	if !ok {
		s = &sender{batch: packet.NewBatch(p.room)}
	}
	s.batch.Reset()
	return s
}

// Put takes s back. The caller does not use it any more.
func (p *senderPool) Put(s *sender) { p.pool.Put(s) }
