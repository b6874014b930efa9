//go:build gc && !purego

package aead

import (
	"crypto/subtle"
	"encoding/binary"
	"unsafe"
)

// lanes is what differs between the blocks that are made at once. The assembly
// knows its layout.
type lanes struct {
	counter [nLanes]uint32          // of the block
	nonce1  [nLanes]uint32          // the message's counter, lower half: the nonce's second word
	nonce2  [nLanes]uint32          // upper half: its third word
	rest    [nLanes]uint16          // bytes from the lane's block to the end of the text
	left    [nLanes]uint16          // the same, but no more than a block
	spill   [nLanes / 2 * 16]uint32 // half of the blocks, while the others are used
}

// makeKeys makes the Poly1305 keys of up to nLanes messages: they are the first
// half of block 0 (RFC 8439 §2.6). If one step has lanes for all blocks of all
// messages, it makes them too, for crypt, and returns true.
func (s *scratch) makeKeys(key *[keyLen]byte, order []uint8, m []message) (streamed bool) {
	v := s.vectors()
	all := 0
	for _, i := range order {
		all += 1 + blocks(len(m[i].text))
	}
	if all <= nLanes {
		s.makeStream(key, order, m)
		return true
	}
	clear(v.lanes.counter[:])
	for l, i := range order {
		c := m[i].counter
		v.lanes.nonce1[l], v.lanes.nonce2[l] = uint32(c), uint32(c>>32)
	}
	chachaKeys(key, &v.lanes, &v.keys)
	return false
}

// makeStream makes the key streams of messages, behind each other, and their
// Poly1305 keys.
func (s *scratch) makeStream(key *[keyLen]byte, order []uint8, m []message) {
	v := s.vectors()
	l := 0
	for _, i := range order {
		c := m[i].counter
		for b := range 1 + blocks(len(m[i].text)) {
			v.lanes.counter[l], v.lanes.nonce1[l], v.lanes.nonce2[l] = uint32(b), uint32(c), uint32(c>>32)
			l++
		}
	}
	chachaStream(key, &v.lanes, &v.stream)
	l = 0
	for k, i := range order {
		for w := range v.keys {
			v.keys[w][k] = binary.LittleEndian.Uint32(v.stream[l][4*w:])
		}
		l += 1 + blocks(len(m[i].text))
	}
}

// cryptStreamed is crypt after makeStream.
func (s *scratch) cryptStreamed(order []uint8, m []message) {
	v := s.vectors()
	stream := unsafe.Slice(&v.stream[0][0], unsafe.Sizeof(v.stream))
	for _, i := range order {
		text := m[i].text
		subtle.XORBytes(text, text, stream[blockLen:])
		stream = stream[blockLen*(1+blocks(len(text))):]
	}
	clear(v.stream[:])
}

// crypt encrypts or decrypts the texts of up to nLanes messages, sorted by
// length.
func (s *scratch) crypt(key *[keyLen]byte, order []uint8, m []message) {
	for len(order) > 0 && len(m[order[0]].text) > 0 {
		messages, steps := share(order, m)
		each := nLanes / messages // lanes of a message
		now := order[:min(messages, len(order))]
		whole := 0 // steps in which every lane has a whole block
		if len(now) == messages {
			whole = len(m[now[len(now)-1]].text) / (each * blockLen)
		}
		s.fill(now, m, each)
		chachaXOR(key, &s.vectors().lanes, &s.at, uint64(whole), uint64(steps), uint64(each))
		order = order[len(now):]
	}
}

// fill gives each of the messages its lanes.
func (s *scratch) fill(now []uint8, m []message, each int) {
	v := &s.vectors().lanes
	l := 0
	for _, i := range now {
		text, c := m[i].text, m[i].counter
		begin := unsafe.Pointer(unsafe.SliceData(text))
		for b, at := 0, 0; b < each; b++ {
			if l >= nLanes {
				panic("BUG: more lanes than there are")
			}
			v.counter[l], v.nonce1[l], v.nonce2[l] = uint32(1+b), uint32(c), uint32(c>>32)
			v.rest[l], s.at[l] = uint16(len(text)-at), unsafe.Add(begin, at)
			if at += blockLen; at > len(text) {
				at = len(text) // no more blocks for this lane and those behind
			}
			l++
		}
	}
	for ; l < nLanes; l++ {
		v.rest[l], s.at[l] = 0, s.at[0]
	}
}
