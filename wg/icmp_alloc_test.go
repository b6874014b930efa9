//go:build !race

package wg

import (
	"testing"
	"time"

	"adit/wg/wgtest"
)

// The race detector allocates on its own account.

// A program that floods an address of nobody must not make us collect garbage.
func TestAnswersDoNotAllocate(t *testing.T) {
	r := newRejects()
	for _, pkt := range [][]byte{
		wgtest.UDP(insideA, insideB, 1420, nil), wgtest.UDP(inside6A, inside6B, 1420, nil),
	} {
		if n := testing.AllocsPerRun(100, func() {
			r.now = r.now.after(time.Second)
			r.batch.Reset()
			r.add(pkt)
		}); n != 0 {
			t.Errorf("%v allocations for each answer, want none", n)
		}
	}
}
