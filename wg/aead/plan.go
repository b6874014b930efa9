package aead

import "slices"

// nLanes is how many blocks of ChaCha20 are made at once, nMessages how many
// messages Poly1305 goes through at once.
const (
	nLanes    = 32
	nMessages = 8
	blockLen  = 64
)

// blocks returns how many blocks a text of n bytes takes.
func blocks(n int) int { return (n + blockLen - 1) / blockLen }

// sortByLength puts the numbers of the messages into order, the longest first,
// those of one length in the order in which they were added. In a run of equal
// packets there is nothing to do.
func sortByLength(order []uint8, m []message) {
	sorted := true
	for i := range order {
		order[i] = uint8(i)
		sorted = sorted && (i == 0 || len(m[i].text) <= len(m[i-1].text))
	}
	if !sorted {
		slices.SortStableFunc(order, func(a, b uint8) int { return len(m[b].text) - len(m[a].text) })
	}
}

// share says how many messages, a power of two, share the lanes in the next
// steps, if those of order are left, and how many steps that takes. A message
// has as many lanes as the others, so the longest decides. Of all ways it is
// the one that leaves the fewest lanes without work.
func share(order []uint8, m []message) (messages, steps int) {
	longest := blocks(len(m[order[0]].text))
	work, bestWork := 0, 0
	for i, p := 0, 1; p <= nLanes; p *= 2 {
		for ; i < min(p, len(order)); i++ {
			work += blocks(len(m[order[i]].text))
		}
		s := (longest + nLanes/p - 1) * p / nLanes
		if bestWork == 0 || s*bestWork <= steps*work {
			messages, steps, bestWork = p, s, work
		}
		if p >= len(order) {
			break
		}
	}
	return messages, steps
}
