package wg

import (
	"encoding/binary"
	"testing"

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
