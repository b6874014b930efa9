package netstack

import (
	"net/netip"
	"sync"

	"adit/packet"
)

// errorsPerSecond limits ICMP errors to the program, as Linux limits its own
// (icmp_msgs_per_sec is 1000 for the host): a program that floods an address
// outside of the tunnel does not get as many answers.
const errorsPerSecond = 100

// A limiter lets a number of events per second pass. Safe for concurrent use.
type limiter struct {
	mu     sync.Mutex
	second moment // the second that is counted
	n      int    // events in it
}

// allow reports whether one more event may happen at now.
func (l *limiter) allow(now moment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.second != now {
		l.second, l.n = now, 0
	}
	l.n++
	return l.n <= errorsPerSecond
}

// answerUnreachable adds to answers, which is made when it is nil, the ICMP
// error that tells the sender of pkt that the tunnel has no way to its
// destination: what its own kernel would say had it no route (ENETUNREACH).
func (s *Stack) answerUnreachable(answers *sender, pkt []byte, now moment) *sender {
	if !s.icmpErrors.allow(now) {
		return answers
	}
	code := uint8(packet.UnreachNet)
	if pkt[0]>>4 == 6 {
		code = packet.UnreachNoRoute6
	}
	var buf [packet.MaxUnreachable]byte
	msg := packet.AppendUnreachable(buf[:0], pkt, netip.Addr{}, code)
	if len(msg) == 0 {
		return answers
	}
	if answers == nil {
		answers = s.senders.Get()
	}
	copy(answers.batch.Append(len(msg)), msg) // no space: as good as over the limit
	return answers
}
