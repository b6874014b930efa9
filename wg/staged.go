package wg

import "adit/packet"

// stage keeps a copy of packets from..to of b until there is a session. The
// oldest are dropped for the newest beyond maxStaged: what waited longest is
// worth least (device.c, wg_xmit). It returns how many it dropped. p.mu must
// be held.
func (p *peer) stage(b *packet.Batch, from, to int) (dropped int) {
	for i := from; i < to; i++ {
		if pkt := b.Packet(i); len(pkt) > 0 {
			p.staged = append(p.staged, append([]byte(nil), pkt...))
		}
	}
	if dropped = len(p.staged) - maxStaged; dropped <= 0 {
		return 0
	}
	n := copy(p.staged, p.staged[dropped:])
	clear(p.staged[n:])
	p.staged = p.staged[:n]
	return dropped
}

// purge drops what is staged and returns how many packets that were. p.mu must
// be held.
func (p *peer) purge() int {
	n := len(p.staged)
	p.staged = nil
	return n
}

// beginFlush says that p is about to get a session for what is staged. p.mu must
// be held, and flush follows before it is let go of.
func (c *core) beginFlush(p *peer, out *output) {
	if len(p.staged) > 0 {
		out.flushing = true
		c.flushing.Store(true)
	}
}

// flush sends what is staged in the current session and reports whether there
// was anything. p.mu must be held.
func (c *core) flush(now Instant, p *peer, out *output) bool {
	s, way := p.current.Load(), p.path.Load()
	if len(p.staged) == 0 || !s.sendable(now) || way == nil {
		return false
	}
	for _, pkt := range p.staged {
		n, ok := out.data(s, pkt, way)
		if !ok {
			c.drops.staged.Add(1)
		}
		p.tx += uint64(n)
	}
	p.staged = nil
	p.timers.authenticatedSent(now)
	p.timers.dataSent(now)
	return true
}
