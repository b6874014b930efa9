package aead

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOrderIsByLengthAndThenAsAdded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 1))
	for range 500 {
		m := make([]message, 1+rnd.IntN(Max))
		for i := range m {
			m[i].text = make([]byte, rnd.IntN(4)*rnd.IntN(100))
		}
		order := make([]uint8, len(m))
		sortByLength(order, m)
		seen := make([]bool, len(m))
		for k, i := range order {
			seen[i] = true
			if k == 0 {
				continue
			}
			before := order[k-1]
			if d := len(m[i].text) - len(m[before].text); d > 0 || d == 0 && i < before {
				t.Fatalf("message %d of %d bytes comes after %d of %d", i, len(m[i].text), before, len(m[before].text))
			}
		}
		if slices.Contains(seen, false) {
			t.Fatalf("not all messages are in %v", order)
		}
	}
}

func TestLanesAreSharedSoThatFewAreIdle(t *testing.T) {
	for _, c := range []struct {
		n, length       int
		messages, steps int
	}{
		{32, 1420, 32, 23}, {45, 1420, 32, 23}, {13, 1420, 8, 6}, {5, 1420, 4, 3}, {1, 1420, 1, 1},
		{32, 64, 32, 1}, {31, 64, 32, 1}, {5, 64, 8, 1}, {1, 2049, 1, 2}, {2, 1024, 2, 1},
	} {
		m := make([]message, c.n)
		order := make([]uint8, c.n)
		for i := range m {
			m[i].text = make([]byte, c.length)
		}
		sortByLength(order, m)
		if messages, steps := share(order, m); messages != c.messages || steps != c.steps {
			t.Errorf("%d messages of %d bytes: got %d in %d steps, want %d in %d",
				c.n, c.length, messages, steps, c.messages, c.steps)
		}
	}
	// A long one among short ones is not to make them wait.
	m := make([]message, 32)
	order := make([]uint8, 32)
	for i := range m {
		m[i].text = make([]byte, 64)
	}
	m[7].text = make([]byte, 4096)
	sortByLength(order, m)
	if messages, steps := share(order, m); messages != 1 || steps != 2 || order[0] != 7 {
		t.Errorf("a long message has %d in %d steps beside it, want it alone in 2", messages, steps)
	}
}
