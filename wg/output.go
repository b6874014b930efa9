package wg

import (
	"sync"

	"adit/packet"
)

// An output collects what the core wants done, so that nothing is done while a
// lock is held. It belongs to one goroutine, which empties it after each call.
type output struct {
	pool     *sync.Pool // of *packet.Batch
	room     packet.Room
	send     []*packet.Batch // datagrams for the Transport, in order
	events   []Event
	resolve  []resolveRequest
	stamp    timestamp // of the last initiation made, if stamped
	stamped  bool
	sessions bool // a session is usable that was not before
	flushing bool // send has what was staged: core.flushing is to be cleared behind it
}

// A resolveRequest asks the shell for the addresses of a peer's endpoint.
type resolveRequest struct {
	peer *peer
	host string
}

// batch returns a batch with space for one packet of n bytes, and that packet's
// number and bytes.
func (o *output) batch(n int) (b *packet.Batch, i int, pkt []byte) {
	if len(o.send) > 0 {
		b = o.send[len(o.send)-1]
		if pkt = b.Append(n); pkt != nil {
			return b, b.Len() - 1, pkt
		}
	}
	b = o.pool.Get().(*packet.Batch)
	b.Reset()
	b.SetRoom(o.room)
	o.send = append(o.send, b)
	return b, 0, b.Append(n)
}

// datagram adds a handshake message of n bytes that goes along way, and returns
// its bytes.
func (o *output) datagram(n int, way *packet.Path, tos uint8) []byte {
	b, i, m := o.batch(n)
	b.SetPath(i, way)
	b.SetTOS(i, tos)
	return m
}

// data seals pkt in s and adds the message. It reports false if the session
// has no counter left, or no datagram is long enough.
func (o *output) data(s *session, pkt []byte, way *packet.Path) (size int, ok bool) {
	b, i, dst := o.batch(len(pkt))
	if dst == nil {
		return 0, false // larger than a slab: cannot have come from one
	}
	off, padded := b.Offset(i), o.room.Padded(len(pkt))
	if headerLen+padded+tagLen > maxDataLen {
		b.Drop(i)
		return 0, false
	}
	first, ok := s.reserve(1)
	if !ok {
		b.Drop(i)
		return 0, false
	}
	copy(dst, pkt)
	if len(pkt) > 0 {
		b.SetTOS(i, innerECN(pkt))
	}
	s.seal(b.Slab(), off, len(pkt), padded, first)
	b.SetPacket(i, off-headerLen, headerLen+padded+tagLen)
	b.SetPath(i, way)
	return headerLen + padded + tagLen, true
}

// event adds e.
func (o *output) event(p *peer, kind EventKind, change ...func(*Event)) {
	e := Event{Peer: p.key, Kind: kind}
	if w := p.path.Load(); w != nil {
		e.Endpoint = w.Remote
	}
	for _, f := range change {
		f(&e)
	}
	o.events = append(o.events, e)
}

// reset empties o, keeping its memory. The batches are the shell's.
func (o *output) reset() {
	clear(o.send)
	clear(o.events)
	clear(o.resolve)
	o.send, o.events, o.resolve = o.send[:0], o.events[:0], o.resolve[:0]
	o.stamped, o.sessions, o.flushing = false, false, false
}
