package wg

import "bytes"

// installInitiated makes s, which we initiated, the session to send in: the
// response proves that the peer has it (§6.3; noise.c, add_new_keypair).
func (c *core) installInitiated(p *peer, s *session) {
	c.index.bind(s.local, p, s)
	old := p.current.Load()
	switch {
	case crossed(old, s) && !p.mayStay(s): // the peer has confirmed old already
		c.forget(p.previous)
		p.previous = s
		return
	case crossed(p.upcoming, s) && !p.mayStay(s): // until the peer confirms upcoming
		c.forget(p.previous)
		p.previous = old
	case p.upcoming != nil:
		c.forget(p.previous)
		c.forget(old)
		p.previous, p.upcoming = p.upcoming, nil
	default:
		c.forget(p.previous)
		p.previous = old
	}
	p.current.Store(s)
}

// crossed reports whether both sides initiated at once, and s and o are what
// came of it: the initiation that one of them answers met one of ours. Linux
// does not know that case: it has one state for both roles, so that two
// initiations that cross end each other, and both sides wait for the next. With
// both handshakes good, each side could take another session for
// the current one: at the next handshake each would then forget the one that
// the other still sends in. So both agree on one.
func crossed(s, o *session) bool {
	return s != nil && o != nil && s.initiator != o.initiator && (s.met || o.met) &&
		s.created.since(o.created) < rekeyTimeout && o.created.since(s.created) < rekeyTimeout
}

// meets reports whether an initiation that comes now may have been sent before
// the peer had ours: ours is in flight, or it was answered less than a round
// trip ago, and the answer overtook the peer's. Later than that the peer was
// started anew after it had answered, and knows nothing of our session.
func (p *peer) meets(now Instant) bool {
	if p.handshake != nil {
		return !p.handshake.late(now)
	}
	s := p.current.Load()
	return s != nil && s.initiator && s.created.since(now) < p.rtt
}

// mayStay reports whether s is the one of two crossed sessions that both sides
// take: that of the initiator with the smaller public key. p.mu must be held.
func (p *peer) mayStay(s *session) bool {
	return s.initiator == (bytes.Compare(p.self.public[:], p.key[:]) < 0)
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

// confirm reports whether s was waiting for its first message, and makes it
// current (noise.c, received_with_keypair), unless it crossed that which is and
// may stay.
func (c *core) confirm(p *peer, s *session) bool {
	if p.upcoming != s {
		return false
	}
	c.forget(p.previous)
	p.upcoming = nil
	if cur := p.current.Load(); crossed(cur, s) && p.mayStay(cur) {
		p.previous = s
		return true
	}
	p.previous = p.current.Load()
	p.current.Store(s)
	return true
}

// sessionUp is common to both roles: the handshake is complete.
func (c *core) sessionUp(now Instant, p *peer, out *output) {
	p.timers.handshakeComplete()
	p.timers.expire = p.current.Load().created.after(rejectAfterTime)
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
