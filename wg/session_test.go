package wg

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/aead"
)

// openOne opens the data message m in place, and reports whether it is
// authentic.
func openOne(s *session, m []byte) bool {
	var q aead.Batch
	q.Add(m[headerLen:], binary.LittleEndian.Uint64(m[dataCounter:]))
	s.recv.Open(&q)
	return q.OK(0)
}

// A session's keys stay while somebody uses them.
func TestASessionInUseKeepsItsKeys(t *testing.T) {
	s := newSession(simStart, &[32]byte{1}, &[32]byte{2}, 1, 2, true)
	if !s.acquire() {
		t.Fatal("a new session cannot be used")
	}
	s.release() // the owner lets go
	if s.send.IsZero() {
		t.Fatal("the keys went while in use")
	}
	s.release()
	if !s.send.IsZero() || !s.recv.IsZero() {
		t.Fatal("nobody uses the session, and the keys are still there")
	}
	if s.acquire() {
		t.Fatal("a session without keys can be used")
	}
}

// §6.2: Reject-After-Messages is checked before a counter is taken.
func TestCountersEndAtRejectAfterMessages(t *testing.T) {
	const limit = uint64(rejectAfterMessages)
	for _, c := range []struct {
		sent, n uint64
		ok      bool
	}{
		{0, 1, true}, {limit - 1, 1, true}, {limit, 1, false}, {limit - 128, 128, true},
		{limit - 127, 128, false}, {1<<64 - 1, 1, false}, {1<<64 - 1, 128, false},
	} {
		var s session
		s.sent.Store(c.sent)
		first, ok := s.reserve(c.n)
		if ok != c.ok || ok && first != c.sent {
			t.Errorf("reserve(%d) after %d: %d, %v, want %v", c.n, c.sent, first, ok, c.ok)
		}
		if want := c.sent + c.n; ok && s.sent.Load() != want || !ok && s.sent.Load() != c.sent {
			t.Errorf("reserve(%d) after %d left the counter at %d", c.n, c.sent, s.sent.Load())
		}
	}
}

// What comes in one after the other is opened together, and all the same judged
// one by one: a forged, a replayed and a worn out message among good ones take
// nothing with them, and the peer is where the last good one came from.
func TestBadMessagesInABatchTakeNothingWithThem(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	const n, forged, replayed, wornOut, last = 45, 7, 20, 33, 44
	batch := packet.NewBatch(Room(1420))
	for i := range n {
		pkt := toB(1420)
		pkt[1419] = byte(i)
		copy(batch.Append(1420), pkt)
	}
	a.core.seal(w.now, batch, nil)
	ways := [2]*packet.Path{{Remote: outsideA}, {Remote: netip.MustParseAddrPort("203.0.113.1:1")}}
	for i := range n {
		batch.SetPath(i, ways[0])
	}
	copy(batch.Packet(replayed), batch.Packet(replayed-1))
	binary.LittleEndian.PutUint64(batch.Packet(wornOut)[dataCounter:], rejectAfterMessages)
	batch.Packet(forged)[700]++
	batch.Packet(last)[headerLen]++
	batch.SetPath(last-1, ways[1])
	badTag, replays := b.core.drops.badTag.Load(), b.core.drops.replayed.Load()
	b.core.receive(w.now, batch, b.out)
	for i := range n {
		pkt := batch.Packet(i)
		switch bad := i == forged || i == replayed || i == wornOut || i == last; {
		case bad && len(pkt) != 0:
			t.Errorf("message %d was taken", i)
		case !bad && (len(pkt) != 1420 || pkt[1419] != byte(i)):
			t.Errorf("message %d did not come through", i)
		}
	}
	if got := b.core.drops.badTag.Load() - badTag; got != 2 {
		t.Errorf("%d messages were counted as forged, want 2", got)
	}
	if got := b.core.drops.replayed.Load() - replays; got != 2 {
		t.Errorf("%d messages were counted as replayed, want 2", got)
	}
	if got := b.peer().path.Load(); got != ways[1] {
		t.Errorf("the peer is at %v, want %v, where its last good message came from", got, ways[1])
	}
}
