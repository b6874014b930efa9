package wg

import "testing"

// RFC 6479; the steps of Linux' selftest/counter.c around the window's edges.
func TestReplayWindowEdges(t *testing.T) {
	const (
		size  = replayWindowSize
		limit = uint64(rejectAfterMessages)
	)
	type step struct {
		counter uint64
		want    bool
	}
	for name, steps := range map[string][]step{
		"in order":              {{0, true}, {1, true}, {1, false}, {0, false}, {2, true}, {9, true}, {8, true}, {8, false}},
		"the edge":              {{size, true}, {0, true}, {0, false}, {size + 1, true}, {0, false}, {1, true}, {1, false}},
		"beyond the edge":       {{size + 1, true}, {0, false}, {1, true}},
		"a jump over the ring":  {{3, true}, {10 * size, true}, {3, false}, {9*size - 1, false}, {9 * size, true}, {9*size + 1, true}, {10 * size, false}},
		"a jump by whole rings": {{5, true}, {5 + 8192, true}, {5, false}, {5 + 16384, true}, {5 + 8192, false}, {5 + 16384 - size, true}},
		"the limit":             {{limit - 1, true}, {limit, false}, {limit - 1, false}, {limit - 2, true}, {1<<64 - 1, false}},
	} {
		var w replayWindow
		for i, s := range steps {
			if got := w.accept(s.counter); got != s.want {
				t.Errorf("%s: step %d: accept(%d) = %v, want %v", name, i, s.counter, got, s.want)
			}
		}
	}
}

// The window agrees with a map that remembers everything.
func FuzzReplayWindow(f *testing.F) {
	f.Add([]byte{0, 1, 2, 255, 0, 3, 128, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		var w replayWindow
		seen := map[uint64]bool{}
		var last, at uint64
		for len(script) >= 2 {
			step := int64(int8(script[0])) * (1 << (script[1] % 14))
			script = script[2:]
			if at = uint64(int64(at) + step); int64(at) < 0 {
				at = 0
			}
			want := !seen[at] && (at > last || last-at <= replayWindowSize)
			if got := w.accept(at); got != want {
				t.Fatalf("accept(%d) = %v, want %v, after %d", at, got, want, last)
			}
			if want {
				seen[at] = true
				last = max(last, at)
			}
		}
	})
}
