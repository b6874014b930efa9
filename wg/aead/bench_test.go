package aead

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// BenchmarkBatch seals and opens batches with the kernels, if this machine has
// them and the batch is worth it, and with the library.
func BenchmarkBatch(b *testing.B) {
	for _, c := range []struct{ size, n int }{{1420, 45}, {1420, 8}, {1420, 4}, {1420, 2}, {1420, 1}, {64, 64}, {64, 8}, {64, 2}, {64, 1}} {
		for _, vector := range []bool{hasVector, false} {
			name := map[bool]string{true: "vector", false: "library"}[vector]
			var k Key
			defer func(v bool) { useVector = v }(useVector)
			useVector = vector
			k.Init(&[keyLen]byte{1})
			slab := make([]byte, (c.size+32)*c.n)
			var q Batch
			fill := func(first uint64) {
				q.Reset()
				for i := range c.n {
					at := i * (c.size + 32)
					binary.LittleEndian.PutUint64(slab[at:], first)
					q.Add(slab[at+16:at+16+c.size+TagLen], first+uint64(i))
				}
			}
			b.Run(fmt.Sprintf("seal/%dx%d/%s", c.size, c.n, name), func(b *testing.B) {
				b.SetBytes(int64(c.size * c.n))
				for b.Loop() {
					fill(7)
					k.Seal(&q)
				}
			})
			sealed := make([]byte, len(slab))
			fill(7)
			k.Seal(&q)
			copy(sealed, slab)
			b.Run(fmt.Sprintf("open/%dx%d/%s", c.size, c.n, name), func(b *testing.B) {
				b.SetBytes(int64(c.size * c.n))
				for b.Loop() {
					copy(slab, sealed)
					fill(7)
					k.Open(&q)
					if !q.OK(c.n - 1) {
						b.Fatal("not authentic")
					}
				}
			})
		}
	}
}
