//go:build gc && !purego

package aead

import (
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))

// little returns b as a number, its lowest byte first.
func little(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// slowTag is Poly1305 (RFC 8439 §2.5) of text and its length as ChaCha20-Poly1305
// pads them (§2.8), by the book.
func slowTag(r, s [16]byte, text []byte) [TagLen]byte {
	padded := append(slices.Clone(text), make([]byte, -len(text)&15)...)
	padded = binary.LittleEndian.AppendUint64(padded, 0)
	padded = binary.LittleEndian.AppendUint64(padded, uint64(len(text)))
	for i := 3; i < 16; i += 4 {
		r[i] &= 15
	}
	for i := 4; i < 16; i += 4 {
		r[i] &= 252
	}
	h := new(big.Int)
	for ; len(padded) > 0; padded = padded[16:] {
		h.Add(h, little(append(slices.Clone(padded[:16]), 1)))
		h.Mod(h.Mul(h, little(r[:])), prime)
	}
	h.Add(h, little(s[:]))
	b := h.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	return [TagLen]byte(b)
}

// A polyCase is a message and a key that nobody could choose from outside.
type polyCase struct {
	r, s [16]byte
	text []byte
}

// checkTags lets the kernels tag up to nLanes messages.
func checkTags(t *testing.T, cases []polyCase) {
	t.Helper()
	slices.SortStableFunc(cases, func(a, b polyCase) int { return len(b.text) - len(a.text) })
	var s scratch
	v := s.vectors()
	var order []uint8
	var m []message
	for i, c := range cases {
		for w := range 4 {
			v.keys[w][i] = binary.LittleEndian.Uint32(c.r[4*w:])
			v.keys[4+w][i] = binary.LittleEndian.Uint32(c.s[4*w:])
		}
		order = append(order, uint8(i))
		m = append(m, message{text: append(slices.Clone(c.text), make([]byte, TagLen)...)[:len(c.text)]})
	}
	s.tags(order, m)
	for i, c := range cases {
		if want := slowTag(c.r, c.s, c.text); s.tag[i] != want {
			t.Fatalf("message %d of %d: r %x s %x, %d bytes %x:\ngot  %x\nwant %x",
				i, len(cases), c.r, c.s, len(c.text), c.text[:min(len(c.text), 80)], s.tag[i], want)
		}
	}
}

func needVector(t *testing.T) {
	t.Helper()
	if !hasVector {
		t.Skip("no kernel for this machine: it needs AVX-512 with IFMA and VBMI2")
	}
}

// repeated returns n bytes of b.
func repeated(b byte, n int) []byte { return slices.Repeat([]byte{b}, n) }

// Keys and texts at the edges, where carries run through all limbs and where
// the sum lies just below or above 2^130-5 (RFC 8439 §A.3, test vectors 7 to 11).
func TestPoly1305AtTheEdges(t *testing.T) {
	needVector(t)
	full := [16]byte(repeated(0xff, 16))
	factors := [][16]byte{{}, {1}, {2}, {4}, {5}, full, {0: 1, 8: 4}, {12: 0xfc}, {15: 0x0f}, {0: 0xff, 1: 0xff, 2: 0xff, 3: 0x0f}}
	blocks := [][16]byte{{}, full, {15: 0x80}, {0: 0xfb, 1: 0xff}, {2}, {0: 1, 15: 0xff}}
	for _, low := range []byte{0xfa, 0xfb, 0xfc, 0xfd, 0xfe} { // 2^128-6 and its neighbours
		b := full
		b[0] = low
		blocks = append(blocks, b)
	}
	var cases []polyCase
	add := func(c polyCase) {
		checkTags(t, []polyCase{c}) // alone, in all lanes
		if cases = append(cases, c); len(cases) == nLanes {
			checkTags(t, cases)
			cases = nil
		}
	}
	for _, r := range factors {
		for _, s := range [][16]byte{{}, full, {1}} {
			for _, b := range blocks {
				for _, n := range []int{1, 3, 4, 5, 8, 89} {
					add(polyCase{r, s, slices.Repeat(b[:], n)})
					add(polyCase{r, s, slices.Repeat(b[:], n)[:16*n-1]})
					add(polyCase{r, s, append(slices.Repeat(b[:], n-1), repeated(0, 16)...)})
				}
			}
		}
	}
	if len(cases) > 0 {
		checkTags(t, cases)
	}
}

func TestPoly1305AgreesWithTheBook(t *testing.T) {
	needVector(t)
	rnd := rand.New(rand.NewPCG(2, 1))
	for round := range 3000 {
		cases := make([]polyCase, 1+rnd.IntN(nLanes))
		longest := 300
		if round%2 == 0 { // few long ones: each is in all lanes
			cases, longest = cases[:min(len(cases), 1+round%4/2)], 2500
		}
		for i := range cases {
			c := &cases[i]
			c.text = make([]byte, rnd.IntN(longest))
			for j := range c.text { // mostly bytes of all ones or zeros
				if c.text[j] = byte(rnd.Uint32()); rnd.IntN(3) > 0 {
					c.text[j] = byte(-(c.text[j] & 1))
				}
			}
			for j := range c.r {
				c.r[j], c.s[j] = byte(rnd.Uint32()), byte(rnd.Uint32())
				if rnd.IntN(2) == 0 {
					c.r[j] = 0xff
				}
			}
		}
		checkTags(t, cases)
	}
}

// The last step, for every sum that Poly1305 can end with near the modulus.
func TestTheSumIsReducedModulo2To130Minus5(t *testing.T) {
	mask44, mask42 := big.NewInt(limb44), big.NewInt(limb42)
	limbOf := func(x *big.Int, shift uint, mask *big.Int) uint64 {
		return new(big.Int).And(new(big.Int).Rsh(x, shift), mask).Uint64()
	}
	check := func(p *poly, h *big.Int) {
		t.Helper()
		for _, s := range [][2]uint64{{0, 0}, {1<<64 - 1, 1<<64 - 1}, {1, 0}} {
			lo, hi := p.sum(0, s[0], s[1])
			want := new(big.Int).Mod(h, prime)
			want.Add(want, new(big.Int).SetUint64(s[0]))
			want.Add(want, new(big.Int).Lsh(new(big.Int).SetUint64(s[1]), 64))
			got := new(big.Int).Lsh(new(big.Int).SetUint64(hi), 64)
			got.Add(got, new(big.Int).SetUint64(lo))
			if want.And(want, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))); got.Cmp(want) != 0 {
				t.Fatalf("h %x, s %x: got %x, want %x", h, s, got, want)
			}
		}
	}
	for d := int64(-70); d <= 4; d++ { // below 2^130
		h := new(big.Int).Add(prime, big.NewInt(d))
		var p poly
		p.h[0][0], p.h[1][0], p.h[2][0] = limbOf(h, 0, mask44), limbOf(h, 44, mask44), limbOf(h, 88, mask42)
		check(&p, h)
	}
	edges := []uint64{0, 1, 4, 5, limb42 - 1, limb42, limb42 + 1, 1<<43 - 1, limb44 - 5, limb44 - 4, limb44, limb44 + 1, 1<<45 - 1}
	for _, h0 := range edges { // limbs larger than they should be, as CARRY leaves them
		for _, h1 := range edges {
			for _, h2 := range edges {
				if h0 > limb44 || h2 >= 1<<43 {
					continue
				}
				var p poly
				p.h[0][0], p.h[1][0], p.h[2][0] = h0, h1, h2
				h := new(big.Int).SetUint64(h2)
				h.Add(h.Lsh(h, 44), new(big.Int).SetUint64(h1))
				h.Add(h.Lsh(h, 44), new(big.Int).SetUint64(h0))
				check(&p, h)
			}
		}
	}
}

// What the kernels worked with is gone when they return.
func TestTheScratchIsWiped(t *testing.T) {
	needVector(t)
	s := newSample(rand.New(rand.NewPCG(2, 2)), 1420, 1420, 1420, 64, 3)
	for _, n := range []int{len(s.texts), 1} {
		b := s.batch(s.texts[:n])
		v := b.scratch.vectors()
		clean := func() bool {
			return v.poly == poly{} && v.keys == vectors{}.keys && v.stream == vectors{}.stream &&
				v.lanes.spill == lanes{}.spill && b.scratch.tag == scratch{}.tag
		}
		if s.key.sealByVector(b); !clean() {
			t.Error("sealing leaves something behind")
		}
		if s.key.openByVector(b); !clean() {
			t.Error("opening leaves something behind")
		}
	}
}
