package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// slowSum is RFC 1071 as one would write it down: the reference.
func slowSum(b []byte) uint16 {
	var acc uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		acc += w
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}

// sameSum compares in ones' complement, where 0 and 0xffff are both zero.
func sameSum(a, b uint16) bool { return a == b || a%0xffff == 0 && b%0xffff == 0 }

func TestSumAgreesWithReference(t *testing.T) {
	b := make([]byte, 300)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	all := make([]byte, 300)
	for i := range all {
		all[i] = 0xff
	}
	for n := range b {
		for _, x := range [][]byte{b[:n], b[n:], all[:n]} {
			if got, want := Fold(Sum(0, x)), slowSum(x); !sameSum(got, want) {
				t.Fatalf("%d bytes: got %#x, want %#x", len(x), got, want)
			}
		}
		if even := n &^ 1; !sameSum(Fold(Sum(Sum(0, b[:even]), b[even:])), slowSum(b)) {
			t.Fatalf("in two pieces at %d: differs from the sum of the whole", even)
		}
	}
}

// The vector code, where there is any, and the plain code give the same value in
// ones' complement at any length, alignment and content; what is copied is what
// was there, and nothing around it is touched.
func checkCopySum(t *testing.T, acc uint64, src []byte, shift int) {
	t.Helper()
	const guard = 40
	out := bytes.Repeat([]byte{0xa5}, guard+shift+len(src)+guard)
	dst := out[guard+shift:]
	want := Fold(sumPlain(acc, src))
	if got := Fold(copySum(acc, dst[:len(src)], src)); !sameSum(got, want) {
		t.Fatalf("%d bytes copied at %d: got %#x, want %#x", len(src), shift, got, want)
	}
	if got := Fold(Sum(acc, src)); !sameSum(got, want) {
		t.Fatalf("%d bytes at %d: got %#x, want %#x", len(src), shift, got, want)
	}
	if !bytes.Equal(dst[:len(src)], src) {
		t.Fatalf("%d bytes at %d: the copy is another", len(src), shift)
	}
	rest := append(bytes.Clone(out[:guard+shift]), dst[len(src):]...)
	if !bytes.Equal(rest, bytes.Repeat([]byte{0xa5}, len(rest))) {
		t.Fatalf("%d bytes at %d: bytes around the copy were written", len(src), shift)
	}
}

func TestCopySumAgreesWithPlainSum(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	random, ones := make([]byte, 2100), bytes.Repeat([]byte{0xff}, 2100)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	for n := range 2048 {
		shift := n % 37
		checkCopySum(t, 0, random[shift:][:n], n%5)
		checkCopySum(t, r.Uint64(), random[:n], shift)
		checkCopySum(t, 1<<64-1, ones[shift:][:n], n%3)
		checkCopySum(t, 0, make([]byte, n), 0)
	}
	checkCopySum(t, 1<<64-1, bytes.Repeat([]byte{0xff}, 65536), 1)
}

func FuzzCopySumAgreesWithPlainSum(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\xff"), uint64(1), uint8(1))
	f.Add(bytes.Repeat([]byte{0xff, 0xff, 0}, 99), uint64(1<<64-1), uint8(31))
	f.Fuzz(func(t *testing.T, b []byte, acc uint64, shift uint8) {
		checkCopySum(t, acc, b, int(shift))
	})
}

func FuzzSumAgreesWithReference(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\xff"), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		even := min(int(cut)&^1, len(b)&^1)
		if got, want := Fold(Sum(Sum(0, b[:even]), b[even:])), slowSum(b); !sameSum(got, want) {
			t.Fatalf("cut at %d: got %#x, want %#x", even, got, want)
		}
	})
}

func TestPseudoSumIsThatOfTheHeader(t *testing.T) {
	for _, a := range [][2]string{{"10.1.2.3", "192.168.255.254"}, {"fd00::1", "2001:db8::ffff:1"}} {
		src, dst := netip.MustParseAddr(a[0]), netip.MustParseAddr(a[1])
		header := append(src.AsSlice(), dst.AsSlice()...)
		header = binary.BigEndian.AppendUint32(header, 70000)
		header = binary.BigEndian.AppendUint32(header, ProtoTCP)
		if got, want := Fold(PseudoSum(src, dst, ProtoTCP, 70000)), slowSum(header); !sameSum(got, want) {
			t.Errorf("%v: got %#x, want %#x", a, got, want)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 64, 1420} {
		b.Run(sizeName(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			var acc uint64
			for b.Loop() {
				acc = Sum(acc, buf)
			}
		})
	}
}

func BenchmarkCopyAndChecksum(b *testing.B) {
	const n = 1380
	src, dst := make([]byte, n), make([]byte, n)
	b.Run("at once", func(b *testing.B) {
		b.SetBytes(n)
		for b.Loop() {
			copySum(0, dst, src)
		}
	})
	b.Run("one after the other", func(b *testing.B) {
		b.SetBytes(n)
		for b.Loop() {
			copy(dst, src)
			sumPlain(0, dst)
		}
	})
}
