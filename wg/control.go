package wg

import (
	"encoding/binary"

	"adit/packet"
)

// control takes a message that is no data. Whatever is wrong with it, the
// answer is silence (§5.1), but for the cookie that we may ask for under load.
func (c *core) control(now Instant, t uint32, msg []byte, way *packet.Path, out *output) {
	if t == 0 || way == nil {
		c.drops.malformed.Add(1)
		return
	}
	if t == typeCookie {
		c.handleCookie(now, msg)
		return
	}
	id := c.self.Load()
	if id.none || !id.checkMAC1(msg) {
		c.drops.badMAC.Add(1)
		return
	}
	if t == typeResponse && c.awaited(msg) == nil {
		c.drops.noSession.Add(1)
		return
	}
	if !c.admit(now, id, msg, way, out) {
		return
	}
	if t == typeInitiation {
		c.handleInitiation(now, id, msg, way, out)
	} else {
		c.handleResponse(now, msg, way, out)
	}
}

// admit reports whether we can afford the handshake that msg asks for. Under
// load only those get one who prove with mac2 that they are where they say,
// and not too many of them; others get a cookie, which is smaller than what
// they sent (§5.3).
func (c *core) admit(now Instant, id *identity, msg []byte, way *packet.Path, out *output) bool {
	if !c.load.add(now) {
		return true
	}
	cookie := c.secret.cookie(now, way.Remote, c.random)
	if !checkMAC2(msg, cookie) {
		c.drops.underLoad.Add(1)
		id.makeCookieReply(out.datagram(cookieLen, way, 0), msg, cookie, c.random)
		return false
	}
	if !c.sources.allow(now, way.Remote.Addr()) {
		c.drops.underLoad.Add(1)
		return false
	}
	return true
}

// handleInitiation answers an initiation (§5.4.2, §5.4.3).
func (c *core) handleInitiation(now Instant, id *identity, msg []byte, way *packet.Path, out *output) {
	var r received
	defer r.state.clear()
	if err := id.openStatic(&r, msg); err != nil {
		c.drops.badTag.Add(1)
		return
	}
	p := c.roster.Load().byKey[r.static]
	if p == nil || p.lowOrder {
		c.drops.noPeer.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed || p.self != id { // it was for who we no longer are
		return
	}
	ts, err := r.openTimestamp(p, msg)
	if err != nil {
		c.drops.badTag.Add(1)
		return
	}
	// §5.1: only ever later ones; noise.c: and not more than fifty a second.
	if !ts.later(p.accepted) || p.lastInitiation != 0 && p.lastInitiation.since(now) < initiationInterval {
		c.drops.replayed.Add(1)
		return
	}
	index := c.index.add(p, c.random)
	var m [responseLen]byte
	send, recv, err := r.makeResponse(m[:], index, &p.psk, c.random)
	if err != nil {
		c.index.remove(index)
		c.drops.badTag.Add(1)
		return
	}
	p.accepted, p.lastInitiation = ts, now
	p.rx += initiationLen
	p.tx += responseLen
	if p.roam(way) {
		out.event(p, EndpointChanged)
	}
	p.jar.addMACs(now, m[:], p.key)
	// Not along way: its source may be one that was left.
	copy(out.datagram(responseLen, p.path.Load(), handshakeTOS), m[:])
	s := newSession(now, &send, &recv, index, r.sender, false)
	s.met = p.meets(now)
	c.installResponded(p, s)
	t := &p.timers
	t.lastSent = now
	t.jitter = c.jitter()
	t.sessionDerived(now)
	t.authenticatedReceived(now)
	t.authenticatedSent(now)
	p.touch(&c.agenda)
}

// awaited returns the peer whose handshake in flight the response msg claims
// to answer.
func (c *core) awaited(msg []byte) *peer {
	e := c.index.lookup(binary.LittleEndian.Uint32(msg[responseReceiver:]))
	if e.session != nil {
		return nil
	}
	return e.peer
}

// handleResponse completes a handshake that we started (§5.4.3, §5.4.5).
func (c *core) handleResponse(now Instant, msg []byte, way *packet.Path, out *output) {
	// Asked again: the handshake may have been given up since control asked.
	p := c.awaited(msg)
	if p == nil {
		c.drops.noSession.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.handshake
	if h == nil || h.index != binary.LittleEndian.Uint32(msg[responseReceiver:]) || h.late(now) {
		c.drops.noSession.Add(1)
		return
	}
	send, recv, sender, err := p.self.openResponse(h, msg, &p.psk)
	if err != nil {
		c.drops.badTag.Add(1)
		return
	}
	p.rx += responseLen
	p.rtt = h.sent.since(now)
	p.handshake = nil // its index lives on as the session's
	s := newSession(now, &send, &recv, h.index, sender, true)
	h.clear()
	c.beginFlush(p, out)
	c.installInitiated(p, s)
	if p.roam(way) {
		out.event(p, EndpointChanged)
	}
	t := &p.timers
	t.sessionDerived(now)
	c.sessionUp(now, p, out)
	t.authenticatedReceived(now)
	// The peer may not send before it has heard from us in the new session.
	if !c.flush(now, p, out) {
		c.keepalive(now, p, out)
	}
	p.touch(&c.agenda)
}

// handleCookie keeps the cookie for the next handshake message. It is no proof
// of where the peer is, and nothing is sent because of it (§5.4.7).
func (c *core) handleCookie(now Instant, msg []byte) {
	p := c.index.lookup(binary.LittleEndian.Uint32(msg[cookieReceiver:])).peer
	if p == nil {
		c.drops.noSession.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.jar.open(now, msg, p.key) {
		c.drops.badTag.Add(1)
		return
	}
	p.timers.resend = 0 // "wait for the expiration of the Rekey-Timeout timer" (§6.6)
}
