package aead

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Whatever the lengths, the counters, where the messages lie and which of them
// is forged: the kernels and the library come to the same end.
func FuzzBatchAgainstLibrary(f *testing.F) {
	f.Add(uint64(1), []byte{22, 22, 22, 22, 22, 22, 22, 22, 22, 9}, uint8(3), uint16(1))
	f.Add(uint64(2), []byte{0}, uint8(0), uint16(0))
	f.Add(uint64(3), []byte{1, 1, 1, 1, 0, 0, 200, 1, 3}, uint8(6), uint16(65535))
	f.Add(uint64(4), bytes.Repeat([]byte{1}, Max), uint8(127), uint16(70))
	f.Add(uint64(5), bytes.Repeat([]byte{23}, 46), uint8(45), uint16(1435))
	f.Fuzz(func(t *testing.T, seed uint64, sizes []byte, forged uint8, at uint16) {
		if len(sizes) == 0 || len(sizes) > Max {
			return
		}
		if !hasVector {
			t.Skip("no kernel for this machine: it needs AVX-512 with IFMA and VBMI2")
		}
		defer func(a bool) { testOnlyAlways = a }(testOnlyAlways)
		testOnlyAlways = true
		rnd := rand.New(rand.NewPCG(seed, 0))
		lengths := make([]int, len(sizes))
		for i, n := range sizes { // 64 n, a little less, or just that as in a run
			lengths[i] = max(0, 64*int(n)-int(seed>>8&63))
			if seed&1 == 1 {
				lengths[i] = max(0, 64*int(n)-rnd.IntN(64))
			}
		}
		s := newSample(rnd, lengths...)
		s.roundTrip(t)
		which := int(forged) % len(sizes)
		s.forge(t, which, func(m []byte) { m[int(at)%len(m)] ^= byte(1 + seed%255) })
	})
}
