package wg

// keepalive sends an empty packet, or asks for a session to send it in.
func (c *core) keepalive(now Instant, p *peer, out *output) {
	s, way := p.current.Load(), p.path.Load()
	if !s.sendable(now) || way == nil {
		if p.reachable() {
			p.timers.wantHandshake(now)
		}
		return
	}
	if n, ok := out.data(s, nil, way); ok {
		p.tx += uint64(n)
		p.timers.authenticatedSent(now)
		p.keepFreshSending(now, s)
	}
}

// keepFreshSending asks for a new session if s has been used for long enough.
// Only its initiator does so because of time, or both would (§6.2).
func (p *peer) keepFreshSending(now Instant, s *session) {
	if s.sent.Load() > rekeyAfterMessages || s.initiator && s.created.since(now) >= rekeyAfterTime {
		p.timers.wantHandshake(now)
	}
}

// keepFreshReceiving asks, once, for a new session if the current one will
// soon be too old to answer in (§6.2; receive.c, keep_key_fresh).
func (p *peer) keepFreshReceiving(now Instant) {
	const late = rejectAfterTime - keepaliveTimeout - rekeyTimeout
	s := p.current.Load()
	if s != nil && !p.timers.lastMinute && s.initiator && s.created.since(now) >= late {
		p.timers.lastMinute = true
		p.timers.wantHandshake(now)
	}
}
