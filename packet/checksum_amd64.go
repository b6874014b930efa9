package packet

import "golang.org/x/sys/cpu"

// The vector code takes multiples of vector bytes, and pays from vectorLeast on.
const (
	vector      = 32
	vectorLeast = 128
)

var hasVector = cpu.X86.HasAVX2

// sumVector returns the sum, as Sum makes it, of the n bytes at b; n is a
// multiple of vector. It is less than 2^47.
func sumVector(b *byte, n int) uint64 { return sumAVX2(b, n) }

// copySumVector is sumVector of the n bytes at src, which it copies to dst.
// They do not overlap.
func copySumVector(dst, src *byte, n int) uint64 { return copySumAVX2(dst, src, n) }

//go:noescape
func sumAVX2(b *byte, n int) uint64

//go:noescape
func copySumAVX2(dst, src *byte, n int) uint64
