package wg

import (
	"testing"
)

// A rehearsal is a handshake in its four steps, each of which can be done again
// and again after those before it.
type rehearsal struct {
	tb       testing.TB
	ours     *identity
	theirs   *identity
	of, at   *peer // theirs to us, ours to them
	random   func([]byte)
	h        initiation
	r        received
	response [responseLen]byte
}

func newRehearsal(tb testing.TB) *rehearsal {
	h := &rehearsal{tb: tb, ours: newIdentity(fixedKey(1)), theirs: newIdentity(fixedKey(2)), random: zeros()}
	h.of, h.at = newPeer(h.theirs.public, h.ours), newPeer(h.ours.public, h.theirs)
	return h
}

func (h *rehearsal) must(err error) {
	if err != nil {
		h.tb.Fatal(err)
	}
}

func (h *rehearsal) makeInitiation() {
	h.must(h.ours.makeInitiation(&h.h, h.of, timestamp{1}, h.random))
}

func (h *rehearsal) consumeInitiation() {
	h.must(h.theirs.openStatic(&h.r, h.h.msg[:]))
	_, err := h.r.openTimestamp(h.at, h.h.msg[:])
	h.must(err)
}

func (h *rehearsal) makeResponse() {
	h.consumeInitiation()
	_, _, err := h.r.makeResponse(h.response[:], 1, &h.at.psk, h.random)
	h.must(err)
}

func (h *rehearsal) consumeResponse() {
	_, _, _, err := h.ours.openResponse(&h.h, h.response[:], &h.of.psk)
	h.must(err)
}

// steps returns what a handshake consists of, in order. The responder's work is
// one: to consume an initiation and to make the response.
func (h *rehearsal) steps() []rehearsalStep {
	return []rehearsalStep{
		{"make-initiation", h.makeInitiation, 90},
		{"consume-initiation", h.consumeInitiation, 85},
		{"consume-and-respond", h.makeResponse, 215},
		{"consume-response", h.consumeResponse, 125},
	}
}

type rehearsalStep struct {
	name   string
	do     func()
	allocs float64 // at most
}

// BenchmarkHandshakeStep is what each message costs whom.
func BenchmarkHandshakeStep(b *testing.B) {
	for _, s := range newRehearsal(b).steps() {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			s.do() // what the next step needs
			for b.Loop() {
				s.do()
			}
		})
	}
}

// What the library for the curve and the hash allocates is not ours to change;
// that it does not grow is.
func TestAHandshakeHasABudgetOfAllocations(t *testing.T) {
	for _, s := range newRehearsal(t).steps() {
		n := testing.AllocsPerRun(20, s.do)
		t.Logf("%s: %v", s.name, n)
		if n > s.allocs {
			t.Errorf("%s: %v allocations, want %v at most", s.name, n, s.allocs)
		}
	}
}
