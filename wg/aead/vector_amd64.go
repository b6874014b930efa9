//go:build gc && !purego

package aead

import (
	"crypto/subtle"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// hasVector says whether the kernels of this package run on this machine: the
// multiplication of 52 bits came with Ice Lake and Zen 4. It takes the word of
// the operating system that it keeps the registers.
var hasVector = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ &&
	cpu.X86.HasAVX512IFMA && cpu.X86.HasAVX512VBMI2 && cpu.X86.HasBMI2

// chachaXOR encrypts, in lane i, the bytes from at[i] on: 64 in each step, then
// it skips the blocks-1 that other lanes of the message take. In the first
// whole steps every lane has 64 bytes; after that, no more than are left.
//
//go:noescape
func chachaXOR(key *[keyLen]byte, l *lanes, at *[nLanes]unsafe.Pointer, whole, steps, blocks uint64)

// chachaKeys writes the first eight words of each lane's block.
//
//go:noescape
func chachaKeys(key *[keyLen]byte, l *lanes, out *[8][nLanes]uint32)

// chachaStream writes each lane's block.
//
//go:noescape
func chachaStream(key *[keyLen]byte, l *lanes, out *[nLanes][blockLen]byte)

// polyPowers makes r^2, r^3 and r^4 of r.
//
//go:noescape
func polyPowers(p *poly)

// polySquares makes r^8, r^16 and r^32, after polyPowers.
//
//go:noescape
func polySquares(p *poly)

// polyStripe takes chunks of 64 bytes of one message, one in each lane, into
// the h of lane 0: first those that at points to, in lanes of the mask first
// alone, then n times the next eight.
//
//go:noescape
func polyStripe(p *poly, at *[nMessages]unsafe.Pointer, first uint64, then unsafe.Pointer, n uint64)

// polyChunks takes n chunks of 64 bytes of every message, those from from on.
//
//go:noescape
func polyChunks(p *poly, at *[nMessages]unsafe.Pointer, from, n uint64)

// polyTail takes what is left of every message, and its length.
//
//go:noescape
func polyTail(p *poly, at *[nMessages]unsafe.Pointer)

// vectors is the memory of the kernels.
type vectors struct {
	lanes  lanes
	poly   poly
	keys   [8][nLanes]uint32 // word → message
	stream [nLanes][blockLen]byte
}

// A scratch is what a Batch needs for the kernels.
type scratch struct {
	order [Max]uint8             // the messages by length
	at    [nLanes]unsafe.Pointer // lane → text
	tag   [nLanes][TagLen]byte
	room  [unsafe.Sizeof(vectors{}) + cacheLine - 1]byte
}

const cacheLine = 64

// vectors returns the part of s that begins with a line of the cache.
func (s *scratch) vectors() *vectors {
	skip := -uintptr(unsafe.Pointer(&s.room)) % cacheLine
	return (*vectors)(unsafe.Pointer(&s.room[skip]))
}

// wipe forgets what s was used for.
func (s *scratch) wipe() {
	v := s.vectors()
	v.poly = poly{}
	clear(v.keys[:])
	clear(s.tag[:])
	clear(s.at[:])
}

// sealByVector is Seal.
func (k *Key) sealByVector(b *Batch) {
	s, m := &b.scratch, b.m[:b.n]
	order := s.order[:b.n]
	sortByLength(order, m)
	for len(order) > 0 {
		now := order[:min(nLanes, len(order))]
		if s.makeKeys(&k.bytes, now, m) {
			s.cryptStreamed(now, m)
		} else {
			s.crypt(&k.bytes, now, m)
		}
		s.tags(now, m)
		for l, i := range now {
			text := m[i].text
			copy(text[len(text):len(text)+TagLen], s.tag[l][:])
		}
		order = order[len(now):]
	}
	s.wipe()
}

// openByVector is Open.
func (k *Key) openByVector(b *Batch) {
	s, m := &b.scratch, b.m[:b.n]
	order := s.order[:b.n]
	sortByLength(order, m)
	for len(order) > 0 {
		now := order[:min(nLanes, len(order))]
		streamed := s.makeKeys(&k.bytes, now, m)
		s.tags(now, m)
		for l, i := range now {
			text := m[i].text
			m[i].ok = subtle.ConstantTimeCompare(text[len(text):len(text)+TagLen], s.tag[l][:]) == 1
		}
		if streamed {
			s.cryptStreamed(now, m)
		} else {
			s.crypt(&k.bytes, now, m)
		}
		order = order[len(now):]
	}
	for i := range m {
		if !m[i].ok {
			clear(m[i].text)
		}
	}
	s.wipe()
}
