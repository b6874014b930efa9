package wg

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"adit/packet"
	"adit/wg/aead"
)

// ciphers are aead.Batches, for who seals: none is in use for longer than a
// call takes. A packet.Batch fits into one.
var ciphers = sync.Pool{New: func() any { return new(aead.Batch) }}

const _ = uint(aead.Max - packet.MaxPackets)

// A session is a pair of transport keys (§5.4.5). Its keys do not change; they
// are overwritten when the last user has let go of it.
type session struct {
	send, recv aead.Key
	local      uint32 // the index that messages to us carry
	remote     uint32 // the index that messages to the peer carry
	created    Instant
	initiator  bool // we sent the initiation
	met        bool // we responded to an initiation that met one of ours

	sent   atomic.Uint64 // the next counter to send with
	refs   atomic.Int32  // users, the owner included; at 0 the keys are gone
	replay *replayWindow // belongs to the inbound goroutine; made by the first packet
}

// newSession returns a session with one reference, the owner's, and forgets
// the keys it was given.
func newSession(now Instant, send, recv *[32]byte, local, remote uint32, initiator bool) *session {
	s := &session{
		local: local, remote: remote, created: now, initiator: initiator,
	}
	s.send.Init(send)
	s.recv.Init(recv)
	clear(send[:])
	clear(recv[:])
	s.refs.Store(1)
	return s
}

// acquire takes a reference, so that the keys stay while they are in use: a
// packet sealed with a key that is being overwritten would be readable by
// anyone. It reports false if they are gone already.
func (s *session) acquire() bool {
	for {
		n := s.refs.Load()
		if n <= 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back; the last one overwrites the keys.
func (s *session) release() {
	if s.refs.Add(-1) == 0 {
		s.send.Wipe()
		s.recv.Wipe()
	}
}

// fresh reports whether the session may still be used at now (§6.2).
func (s *session) fresh(now Instant) bool { return s.created.since(now) < rejectAfterTime }

// sendable reports whether a packet may be sent in the session at now.
func (s *session) sendable(now Instant) bool {
	return s != nil && s.fresh(now) && s.sent.Load() < rejectAfterMessages
}

// reserve takes n consecutive counters and returns the first. It fails, and
// takes none, if one of them would reach rejectAfterMessages: the limit is
// checked before the increment, so that a nonce can never come back (§6.2).
func (s *session) reserve(n uint64) (first uint64, ok bool) {
	for {
		c := s.sent.Load()
		if c > rejectAfterMessages-n {
			return 0, false
		}
		if s.sent.CompareAndSwap(c, c+n) {
			return c, true
		}
	}
}

// frame makes the packet of n bytes at off a data message but for the cipher,
// in place, and adds it to q, to be sealed with all that is in there:
//
//	before: [ free 16 | packet n | free padded-n | free 16 ]
//	framed: [ header  | packet n | zeros         | free 16 ]
//	sealed: [ header  | sealed packet and zeros  | tag     ]
//	         ^ off-16   ^ off
func (s *session) frame(q *aead.Batch, slab []byte, off, n, padded int, counter uint64) {
	end := off + padded + tagLen
	m := slab[off-headerLen : end : end]
	clear(m[headerLen+n : headerLen+padded])
	binary.LittleEndian.PutUint32(m, typeData)
	binary.LittleEndian.PutUint32(m[dataReceiver:], s.remote)
	binary.LittleEndian.PutUint64(m[dataCounter:], counter)
	q.Add(m[headerLen:], counter)
}

// seal turns the packet of n bytes at off into a data message, in place, as
// frame shows.
func (s *session) seal(slab []byte, off, n, padded int, counter uint64) {
	q := ciphers.Get().(*aead.Batch)
	s.frame(q, slab, off, n, padded, counter)
	s.send.Seal(q)
	q.Reset()
	ciphers.Put(q)
}
