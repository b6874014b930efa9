//go:build gc && !purego

package aead

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	limb44 = 1<<44 - 1
	limb42 = 1<<42 - 1
)

// A limbs is a number modulo 2^130-5 in each lane: 44, 44 and 42 bits.
type limbs [3][nMessages]uint64

// A factor is limbs to multiply with.
type factor struct {
	limbs
	times20 [2][nMessages]uint64 // 20 times the upper two limbs
}

// poly is Poly1305 of eight messages. The assembly knows its layout.
type poly struct {
	h      limbs
	r      [7]factor         // r, r^2, r^3, r^4, r^8, r^16, r^32
	rest   [nMessages]uint64 // bytes behind the last whole chunk of 64
	length [nMessages]uint64 // of the text in bytes
}

// setKey sets r in lane l: 16 bytes, of which some bits are cleared (RFC 8439
// §2.5).
func (p *poly) setKey(l int, lo, hi uint64) {
	lo &= 0x0ffffffc0fffffff
	hi &= 0x0ffffffc0ffffffc
	r := &p.r[0]
	r.limbs[0][l] = lo & limb44
	r.limbs[1][l] = (lo>>44 | hi<<20) & limb44
	r.limbs[2][l] = hi >> 24
	r.times20[0][l] = 20 * r.limbs[1][l]
	r.times20[1][l] = 20 * r.limbs[2][l]
}

// sum returns h + s modulo 2^128 in lane l, once h is reduced modulo 2^130-5.
func (p *poly) sum(l int, slo, shi uint64) (lo, hi uint64) {
	h0, h1, h2 := p.h[0][l], p.h[1][l], p.h[2][l]
	for range 2 { // the second time nothing but a carry out of the first limb
		h2 += h1 >> 44
		h1 &= limb44
		h0 += h2 >> 42 * 5
		h2 &= limb42
		h1 += h0 >> 44
		h0 &= limb44
	}
	// g = h - (2^130 - 5) = h + 5 - 2^130; if that is not negative, it is the sum.
	g0 := h0 + 5
	g1 := h1 + g0>>44
	g2 := h2 + g1>>44
	over := -(g2 >> 42) // all ones if h was too large
	h0 ^= over & (h0 ^ g0&limb44)
	h1 ^= over & (h1 ^ g1&limb44)
	h2 ^= over & (h2 ^ g2&limb42)
	lo, carry := bits.Add64(h0|h1<<44, slo, 0)
	hi, _ = bits.Add64(h1>>20|h2<<24, shi, carry)
	return lo, hi
}

// tags computes the tags of up to nLanes messages, sorted by length, whose keys
// makeKeys has made.
func (s *scratch) tags(order []uint8, m []message) {
	v := s.vectors()
	for first := 0; first < len(order); first += nMessages {
		now := order[first:min(first+nMessages, len(order))]
		if len(now) <= fewMessages && len(m[now[0]].text) >= manyChunks*blockLen {
			for l, i := range now {
				for lane := range nMessages {
					v.poly.setKey(lane, v.key(first+l, 0), v.key(first+l, 2))
				}
				s.absorbOne(m[i].text)
				s.setTag(first+l, 0)
			}
			continue
		}
		for l := range now {
			v.poly.setKey(l, v.key(first+l, 0), v.key(first+l, 2))
		}
		s.absorb(now, m)
		for l := range now {
			s.setTag(first+l, l)
		}
	}
}

// Up to fewMessages, of which the longest has manyChunks chunks, have all lanes
// for each in turn: that takes longer to begin and to end.
const (
	fewMessages = 2
	manyChunks  = 8
)

// setTag sets the tag of message i, which is in that lane of Poly1305.
func (s *scratch) setTag(i, lane int) {
	v := s.vectors()
	lo, hi := v.poly.sum(lane, v.key(i, 4), v.key(i, 6))
	binary.LittleEndian.PutUint64(s.tag[i][:], lo)
	binary.LittleEndian.PutUint64(s.tag[i][8:], hi)
}

// absorbOne takes a text into Poly1305, of which all lanes have the same key.
// Chunks go to the lanes in turn, so that the last one is in the last lane: h is
// multiplied with r^32 from stripe to stripe, and in the end lanes are joined.
func (s *scratch) absorbOne(text []byte) {
	p, at := &s.vectors().poly, (*[nMessages]unsafe.Pointer)(s.at[:])
	begin := unsafe.Pointer(unsafe.SliceData(text))
	chunks := len(text) / blockLen
	p.h = limbs{}
	polyPowers(p)
	if chunks > 0 {
		polySquares(p)
		stripes := (chunks + nMessages - 1) / nMessages
		skip := stripes*nMessages - chunks // lanes of the first stripe
		for l := range at {
			at[l] = unsafe.Add(begin, max(0, l-skip)*blockLen)
		}
		then := begin
		if stripes > 1 {
			then = unsafe.Add(begin, (nMessages-skip)*blockLen)
		}
		polyStripe(p, at, 0xff<<skip&0xff, then, uint64(stripes-1))
	}
	for l := range at {
		at[l] = unsafe.Add(begin, chunks*blockLen)
		p.rest[l], p.length[l] = 0, 0
	}
	p.rest[0], p.length[0] = uint64(len(text)%blockLen), uint64(len(text))
	polyTail(p, at)
}

// key returns words w and w+1 of the key of message l.
func (v *vectors) key(l, w int) uint64 {
	return uint64(v.keys[w][l]) | uint64(v.keys[w+1][l])<<32
}

// absorb takes the texts of up to nMessages messages, sorted by length, into
// lanes of Poly1305, with the block of their lengths (RFC 8439 §2.8). Lanes
// that have no message, or whose text has ended, go through the longest text
// again: what comes out of that is not used.
func (s *scratch) absorb(now []uint8, m []message) {
	p, at := &s.vectors().poly, (*[nMessages]unsafe.Pointer)(s.at[:])
	longest := unsafe.Pointer(unsafe.SliceData(m[now[0]].text))
	for l := range at {
		at[l] = longest
		if l < len(now) {
			at[l] = unsafe.Pointer(unsafe.SliceData(m[now[l]].text))
		} else {
			p.rest[l] = 0
		}
	}
	p.h = limbs{}
	most, least := len(m[now[0]].text)/blockLen, len(m[now[len(now)-1]].text)/blockLen
	if most > 0 {
		polyPowers(p)
	}
	if least > 0 {
		polyChunks(p, at, 0, uint64(least))
	}
	if most > least {
		s.absorbLonger(now, m, least)
	}
	for l, i := range now {
		text := m[i].text
		n := len(text) % blockLen
		at[l] = unsafe.Pointer(unsafe.SliceData(text[len(text)-n:]))
		p.rest[l], p.length[l] = uint64(n), uint64(len(text))
	}
	polyTail(p, at)
}

// absorbLonger goes on with those texts that have more chunks than the least.
func (s *scratch) absorbLonger(now []uint8, m []message, least int) {
	p, at := &s.vectors().poly, (*[nMessages]unsafe.Pointer)(s.at[:])
	ended := p.h
	for live, done := len(now), least; live > 0; live-- {
		l := live - 1
		if n := len(m[now[l]].text) / blockLen; n > done {
			polyChunks(p, at, uint64(done*blockLen), uint64(n-done))
			done = n
		}
		for k := range ended {
			ended[k][l] = p.h[k][l]
		}
		at[l] = at[0]
	}
	p.h = ended
}
