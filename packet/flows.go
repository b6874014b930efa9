package packet

import (
	"bytes"
	"encoding/binary"
)

// buckets is how many chains the flows of a batch are spread over: a power of
// two. A batch of packets of as many flows as it holds has two in each.
const buckets = 64

// A flow is what the next packet of an open run must look like.
type flow struct {
	segment
	next  uint8  // flow of the same bucket, counted from 1; 0: none
	run   int    // closed: none is open
	size  int    // payload bytes of each packet but the last
	total int    // bytes of the merged packet so far
	seq   uint32 // TCP: expected sequence number
	id    uint16 // IPv4: identification of the last packet
}

const closed = -1

// A segment is a packet that can be part of a run.
type segment struct {
	pkt     []byte
	key     uint64 // see flowKey
	v6      bool
	proto   uint8
	closes  bool // nothing may follow it: PSH
	ip      int  // length of the IP header
	hdr     int  // length of all headers
	payload int
}

// A flowTable holds the flows of one batch: those that have, or had, a run. It
// cannot be full, for no packet is of two flows.
type flowTable struct {
	n     int
	last  int            // the flow found last: packets come in trains
	heads [buckets]uint8 // first flow of each bucket, counted from 1; 0: none
	flows [MaxPackets]flow
}

// reset empties the table.
func (t *flowTable) reset() {
	if t.n > 0 {
		t.n, t.last, t.heads = 0, 0, [buckets]uint8{}
	}
}

// find returns the flow of s, nil if there is none.
func (t *flowTable) find(s *segment) *flow {
	if t.n > 0 {
		if f := &t.flows[t.last]; f.sameFlow(s) {
			return f
		}
	}
	for at := t.heads[s.key%buckets]; at > 0; {
		f := &t.flows[at-1]
		if f.sameFlow(s) {
			t.last = int(at - 1)
			return f
		}
		at = f.next
	}
	return nil
}

// add returns a new flow, that of s.
func (t *flowTable) add(s *segment) *flow {
	head := &t.heads[s.key%buckets]
	f := &t.flows[t.n]
	t.last = t.n
	t.n++
	f.next = *head
	*head = uint8(t.n)
	return f
}

// close closes the flow of those addresses, protocol and ports, if there is one.
func (t *flowTable) close(addrs []byte, proto uint8, ports uint32) {
	key := flowKey(addrs, proto, ports)
	for at := t.heads[key%buckets]; at > 0; {
		f := &t.flows[at-1]
		at = f.next
		if f.key == key && f.proto == proto && bytes.Equal(addresses(f.pkt), addrs) && binary.BigEndian.Uint32(f.pkt[f.ip:]) == ports {
			f.run = closed
		}
	}
}

// sameFlow reports whether s has the addresses, protocol and ports of f.
func (f *flow) sameFlow(s *segment) bool {
	if f.key != s.key || f.v6 != s.v6 || f.proto != s.proto {
		return false
	}
	if !s.v6 {
		return [12]byte(f.pkt[12:]) == [12]byte(s.pkt[12:])
	}
	return [36]byte(f.pkt[8:]) == [36]byte(s.pkt[8:]) // the ports follow the addresses
}

// flowKey mixes what makes a flow into one number. Two flows may have the same
// one, and who wants to can find some that have: that costs them a longer look
// at each of their packets, of a batch at most.
func flowKey(addrs []byte, proto uint8, ports uint32) uint64 {
	const mix = 0x9e3779b97f4a7c15 // the golden ratio's bits
	k := uint64(ports)<<8 | uint64(proto)
	for ; len(addrs) >= 8; addrs = addrs[8:] {
		k = (k ^ binary.LittleEndian.Uint64(addrs)) * mix
		k ^= k >> 29
	}
	return k
}
