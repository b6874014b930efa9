package wg

// installInitiated makes s, which we initiated, the session to send in: the
// response proves that the peer has it (§6.3; noise.c, add_new_keypair).
func (c *core) installInitiated(p *peer, s *session) {
	c.index.bind(s.local, p, s)
	old := p.current.Load()
	if p.upcoming != nil {
		c.forget(p.previous)
		c.forget(old)
		p.previous, p.upcoming = p.upcoming, nil
	} else {
		c.forget(p.previous)
		p.previous = old
	}
	p.current.Store(s)
}

// installResponded keeps s, in which we are the responder, until the peer
// shows that it has it: only then may we send in it (§6.3;
// noise.c, add_new_keypair).
func (c *core) installResponded(p *peer, s *session) {
	c.index.bind(s.local, p, s)
	c.forget(p.upcoming)
	c.forget(p.previous)
	p.upcoming, p.previous = s, nil
}

// confirm makes s current if it was waiting for its first message, and reports
// whether it did (noise.c, received_with_keypair).
func (c *core) confirm(p *peer, s *session) bool {
	if p.upcoming != s {
		return false
	}
	c.forget(p.previous)
	p.previous = p.current.Load()
	p.current.Store(s)
	p.upcoming = nil
	return true
}

// sessionUp is common to both roles: the handshake is complete.
func (c *core) sessionUp(now Instant, p *peer, s *session, out *output) {
	p.timers.handshakeComplete()
	p.timers.expire = s.created.after(rejectAfterTime)
	p.lastHandshake, p.met = now, true
	p.tryAll = false
	out.sessions = true
	out.event(p, SessionUp)
}

// forget lets go of a session; nil is fine.
func (c *core) forget(s *session) {
	if s != nil {
		c.index.remove(s.local)
		s.release()
	}
}

func (c *core) forgetSessions(p *peer) {
	c.forget(p.current.Swap(nil))
	c.forget(p.previous)
	c.forget(p.upcoming)
	p.previous, p.upcoming = nil, nil
	p.timers.expire = 0
}

func (c *core) forgetHandshake(p *peer) {
	if p.handshake != nil {
		c.index.remove(p.handshake.index)
		p.handshake.clear()
		p.handshake = nil
		p.timers.resend = 0
	}
}
