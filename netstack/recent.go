package netstack

import (
	"sync/atomic"
	"time"
)

// replyWindow is for how long answers are let in after a port has sent, the
// same time for which most firewalls keep a UDP flow alive that has seen an
// answer (nf_conntrack_udp_timeout_stream was 180 s for twenty years).
const replyWindow = 3 * time.Minute

// A moment is a time in whole seconds since the Stack was made, counted from
// one, so that zero means "never". It is taken once per batch.
type moment uint32

// recent remembers when each port, or protocol, has sent last. It is a plain
// table because it is written for every datagram that leaves: no lock, no
// allocation, and the memory of ports that are never used is never touched.
// Safe for concurrent use.
type recent []atomic.Uint32

// sent notes that port has sent at now.
func (r recent) sent(port uint16, now moment) {
	if p := &r[port]; p.Load() != uint32(now) {
		p.Store(uint32(now))
	}
}

// has reports whether port has sent within the replyWindow before now.
func (r recent) has(port uint16, now moment) bool {
	last := r[port].Load()
	// Another batch may have noted a later moment: then the difference is
	// negative, and the port is as recent as can be.
	return last != 0 && int32(uint32(now)-last) <= int32(replyWindow/time.Second)
}

// A portSet is a set of port numbers. Safe for concurrent use.
type portSet [1 << 16 / 32]atomic.Uint32

// add puts port into the set and reports whether it was not there.
func (s *portSet) add(port uint16) bool {
	bit := uint32(1) << (port % 32)
	word := &s[port/32]
	if word.Load()&bit != 0 {
		return false
	}
	return word.Or(bit)&bit == 0
}

func (s *portSet) has(port uint16) bool {
	return s[port/32].Load()&(1<<(port%32)) != 0
}
