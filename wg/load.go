package wg

import (
	"net/netip"
	"time"
)

const (
	// A handshake costs us three to four Curve25519 products, 200 µs. A
	// thousand a second are a fifth of a core: more than that is load. The
	// burst lets hundreds of peers come at once, as after a restart, before
	// anyone is asked for a cookie.
	handshakesPerSecond = 1000
	handshakeBurst      = 256

	// underLoadFor keeps the state once entered (receive.c: one second).
	underLoadFor = time.Second

	// ratelimiter.c: twenty handshakes a second from one source, five at once.
	sourceInterval = time.Second / 20
	sourceBurst    = 5
	maxSources     = 8192
)

// A loadMeter tells when handshakes cost too much. It belongs to the inbound
// goroutine.
type loadMeter struct {
	work  time.Duration // of handshakes not yet paid for by time gone by
	last  Instant
	until Instant // under load until then
}

// add accounts for one handshake and reports whether we are under load.
func (l *loadMeter) add(now Instant) bool {
	const cost = time.Second / handshakesPerSecond
	l.work = max(0, l.work-l.last.since(now)) + cost
	l.last = now
	if l.work > handshakeBurst*cost {
		l.work = handshakeBurst * cost
		l.until = now.after(underLoadFor)
	}
	return now < l.until
}

// sourceLimiter limits handshakes by source: an IPv4 address or an IPv6 /64,
// for whoever has one address of a /64 has them all. Only sources that proved
// with a cookie to be where they say get an entry. It belongs to the inbound
// goroutine.
type sourceLimiter struct {
	full  map[netip.Addr]Instant // when the source's bucket will be full again
	swept Instant                // when full was last swept
}

// allow reports whether the source may have one more handshake.
func (s *sourceLimiter) allow(now Instant, from netip.Addr) bool {
	key := sourceKey(from)
	full, known := s.full[key]
	if !known && len(s.full) >= maxSources && !s.sweep(now) {
		return false
	}
	if full < now {
		full = now
	}
	full = full.after(sourceInterval)
	if full > now.after(sourceBurst*sourceInterval) {
		return false
	}
	if s.full == nil {
		s.full = make(map[netip.Addr]Instant)
	}
	s.full[key] = full
	return true
}

// sweep forgets the sources whose bucket is full and reports whether there
// were any. It does so once a second at most, as walking the table for every
// handshake would be a load of its own.
func (s *sourceLimiter) sweep(now Instant) bool {
	if s.swept != 0 && s.swept.since(now) < time.Second {
		return false
	}
	s.swept = now
	before := len(s.full)
	for key, full := range s.full {
		if full <= now {
			delete(s.full, key)
		}
	}
	return len(s.full) < before
}

func sourceKey(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}
