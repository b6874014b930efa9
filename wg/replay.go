package wg

// The ring has one block more than the window needs, so that sliding clears
// whole words (RFC 6479 §2). Linux uses the same numbers (messages.h).
const (
	replayBlockBits  = 64
	replayBlocks     = 128
	replayWindowSize = (replayBlocks - 1) * replayBlockBits // 8128
)

// A replayWindow remembers which counters were received. The zero value has
// seen none. It belongs to the inbound goroutine.
type replayWindow struct {
	last uint64 // greatest counter accepted
	ring [replayBlocks]uint64
}

// accept reports whether counter is new, and remembers it. It is called after
// the message was authenticated, never before: else anyone could slide the
// window (§5.4.6).
func (w *replayWindow) accept(counter uint64) bool {
	if counter >= rejectAfterMessages {
		return false
	}
	block := counter / replayBlockBits
	if counter > w.last {
		from := w.last / replayBlockBits
		for i := range min(block-from, replayBlocks) {
			w.ring[(from+1+i)%replayBlocks] = 0
		}
		w.last = counter
	} else if w.last-counter > replayWindowSize {
		return false
	}
	word, bit := &w.ring[block%replayBlocks], uint64(1)<<(counter%replayBlockBits)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
