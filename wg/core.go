package wg

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"adit/packet"
)

// Room returns the space that the engine needs around the packets of a batch
// that it is to seal, for a device of that MTU.
func Room(mtu int) packet.Room {
	return packet.Room{Head: headerLen, Tail: tagLen, Align: 16, MTU: mtu}
}

// A core is the protocol: given the time and bytes it changes its state and
// says, in an output, what to send. It starts nothing, waits for nothing and
// draws its randomness from what it was given.
//
// seal is safe for concurrent use. receive belongs to one goroutine, advance
// to one, which may be another. Locks nest peer.mu → agenda.mu, index.mu.
type core struct {
	identity
	room   packet.Room
	random func([]byte)            // fills with random bytes
	wall   func(Instant) time.Time // the time of day, for the timestamps of initiations alone
	roster atomic.Pointer[roster]
	index  indexTable
	agenda agenda
	drops  drops

	lastStamp timestamp // of the last initiation made; belongs to advance

	// What follows belongs to receive.
	secret  cookieSecret
	load    loadMeter
	sources sourceLimiter
}

// A roster is who the peers are and what is routed to them. It does not change;
// a new one takes its place.
type roster struct {
	byKey  map[PublicKey]*peer
	routes allowedIPs
}

func newCore(private PrivateKey, room packet.Room, random func([]byte), wall func(Instant) time.Time) *core {
	c := &core{identity: newIdentity(private), room: room, random: random, wall: wall}
	c.roster.Store(&roster{})
	return c
}

// jitter returns a random duration below rekeyTimeoutJitter.
func (c *core) jitter() time.Duration {
	var b [8]byte
	c.random(b[:])
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(rekeyTimeoutJitter))
}

// advance does what is due at now. next returns when to come again.
func (c *core) advance(now Instant, out *output) {
	for {
		p := c.agenda.due(now)
		if p == nil {
			return
		}
		p.mu.Lock()
		p.scheduled = 0
		if !p.removed {
			c.fire(now, p, out)
			p.touch(&c.agenda)
		}
		p.mu.Unlock()
	}
}

// next returns the earliest deadline, 0 if there is none.
func (c *core) next() Instant { return c.agenda.earliest() }

// fire does what is due for p. p.mu must be held.
func (c *core) fire(now Instant, p *peer, out *output) {
	t := &p.timers
	if passed(&t.expire, now) {
		if cur := p.current.Load(); cur != nil && !cur.fresh(now) {
			out.event(p, SessionExpired)
		}
	}
	if passed(&t.zeroKeys, now) { // §6.3: 3 × Reject-After-Time
		c.forgetHandshake(p)
		c.forgetSessions(p)
	}
	if passed(&t.newHandshake, now) { // §6.5: heard nothing for fifteen seconds
		p.forgetSource()
		t.wantHandshake(now)
	}
	if passed(&t.keepalive, now) {
		c.keepalive(now, p, out)
		if t.needAnother {
			t.needAnother = false
			t.keepalive = now.after(keepaliveTimeout)
		}
	}
	if passed(&t.persistent, now) && t.interval > 0 {
		c.keepalive(now, p, out)
	}
	if passed(&t.resolve, now) && t.retransmit != 0 {
		c.askAddresses(p, out)
	}
	if passed(&t.resend, now) && p.handshake != nil && t.retransmit != 0 {
		c.sendInitiation(p, p.ways(), out)
		t.nextCopy(p.handshake.sent)
	}
	if passed(&t.retransmit, now) {
		c.retry(now, p, out)
	}
	if passed(&t.begin, now) {
		c.initiate(now, p, out)
	}
}

// retry is the response that did not come (timers.c,
// wg_expired_retransmit_handshake).
func (c *core) retry(now Instant, p *peer, out *output) {
	t := &p.timers
	if t.attempts > maxTimerHandshakes {
		t.keepalive, t.resolve = 0, 0
		c.drops.staged.Add(uint64(p.purge()))
		if t.zeroKeys == 0 {
			t.zeroKeys = now.after(zeroKeysAfter)
		}
		out.event(p, HandshakeGaveUp)
		return
	}
	t.attempts++
	p.forgetSource()
	if t.failures >= failuresBeforeResolve {
		p.tryAll = true
		if t.failures%failuresBeforeResolve == 0 {
			c.askAddresses(p, out)
		}
	}
	c.initiate(now, p, out)
}

// failuresBeforeResolve is how many initiations may stay without an answer
// before the endpoint's name is asked for again, and its other addresses are
// tried: the peer may have moved (reresolve-dns.sh of wireguard-tools waits for
// 135 s).
const failuresBeforeResolve = 3

// initiate sends an initiation, the same to every way there is: the peer takes
// the first that comes, the others are replays to it (§5.1), and its response
// shows us which way is good. p.mu must be held.
func (c *core) initiate(now Instant, p *peer, out *output) {
	t := &p.timers
	ways := p.ways()
	if len(ways) == 0 {
		if p.endpoint.Host == "" {
			t.handshakeComplete() // nowhere to send it: forget that it was wanted
			return
		}
		c.askAddresses(p, out)
		t.handshakeInitiated(now, c.jitter())
		t.authenticatedTraversal(now)
		return
	}
	c.forgetHandshake(p)
	ts := newTimestamp(c.wall(now), c.lastStamp)
	h := &initiation{index: c.index.add(p, c.random), sent: now}
	if err := c.makeInitiation(h, p, ts, c.random); err != nil {
		c.index.remove(h.index) // a low-order key, which setPeers refuses
		return
	}
	p.jar.addMACs(now, h.msg[:], p.key)
	p.handshake = h
	c.lastStamp, out.stamp, out.stamped = ts, ts, true
	t.failures++
	t.lastSent = now
	t.handshakeInitiated(now, c.jitter())
	t.authenticatedSent(now)
	if p.lastHandshake == 0 && t.failures == 1 {
		t.copies = 0
		t.nextCopy(now)
	}
	addrs := c.sendInitiation(p, ways, out)
	out.event(p, HandshakeStarted, func(e *Event) { e.Attempt, e.Addresses = t.failures, addrs })
}

// sendInitiation sends the initiation in flight along ways.
func (c *core) sendInitiation(p *peer, ways []*packet.Path, out *output) (addrs []netip.AddrPort) {
	for _, w := range ways {
		copy(out.datagram(initiationLen, w), p.handshake.msg[:])
		p.tx += initiationLen
		addrs = append(addrs, w.Remote)
	}
	return addrs
}

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

// keepFreshReceiving asks, once, for a new session if s will soon be too old
// to answer in (§6.2).
func (p *peer) keepFreshReceiving(now Instant, s *session) {
	const late = rejectAfterTime - keepaliveTimeout - rekeyTimeout
	if !p.timers.lastMinute && s.initiator && s.created.since(now) >= late {
		p.timers.lastMinute = true
		p.timers.wantHandshake(now)
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
// shows that it has it: only then may we send in it (§5.4.4, "key
// confirmation"; noise.c, add_new_keypair).
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
	p.lastHandshake = now
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

// askAddresses asks the shell for the addresses of p's endpoint, unless it is
// at it, or the endpoint is an address.
func (c *core) askAddresses(p *peer, out *output) {
	if p.resolving || p.endpoint.Host == "" || p.endpoint.isLiteral() {
		return
	}
	p.resolving = true
	out.resolve = append(out.resolve, resolveRequest{p, p.endpoint.Host})
}

// resolved takes the answer to a resolveRequest. New addresses get the
// initiation that is in flight at once.
func (c *core) resolved(now Instant, r resolveRequest, addrs []netip.Addr, err error, out *output) {
	p := r.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resolving = false
	if p.removed {
		return
	}
	if p.endpoint.Host != r.host { // reconfigured meanwhile
		if p.timers.retransmit != 0 {
			c.askAddresses(p, out)
		}
		return
	}
	t := &p.timers
	if err != nil || len(addrs) == 0 {
		if t.retransmit != 0 {
			t.resolve = now.after(resolveAgainAfter)
		}
		out.event(p, ResolveFailed, func(e *Event) { e.Err = err })
		p.touch(&c.agenda)
		return
	}
	fresh := make([]netip.AddrPort, 0, len(addrs))
	var added []*packet.Path
	known := p.ways()
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), p.endpoint.Port)
		if slices.Contains(fresh, ap) {
			continue
		}
		fresh = append(fresh, ap)
		if !slices.ContainsFunc(known, func(w *packet.Path) bool { return w.Remote == ap }) {
			added = append(added, &packet.Path{Remote: ap})
		}
	}
	p.candidates = fresh
	out.event(p, Resolved, func(e *Event) { e.Addresses = fresh })
	switch {
	case t.retransmit == 0:
	case p.handshake == nil: // nothing could be sent until now
		t.begin = now
	case len(added) > 0 && (p.tryAll || p.path.Load() == nil):
		c.sendInitiation(p, added, out)
	}
	p.touch(&c.agenda)
}

// resolveAgainAfter is the time between two questions for a name that does not
// resolve (yet).
const resolveAgainAfter = 2 * time.Second

// networkChanged forgets what was known about ways and proves them again: the
// host's addresses or routes are other ones, or it was asleep.
func (c *core) networkChanged(now Instant, out *output) {
	for _, p := range c.roster.Load().byKey {
		p.mu.Lock()
		p.forgetSource()
		if p.reachable() && !p.removed && (p.endpoint.Host != "" || p.current.Load() != nil) {
			p.tryAll = true
			c.askAddresses(p, out)
			p.timers.wantHandshake(now)
			p.touch(&c.agenda)
		}
		p.mu.Unlock()
	}
}

// close forgets every key.
func (c *core) close() {
	for _, p := range c.roster.Swap(&roster{}).byKey {
		c.drop(p)
	}
	c.private.Zero()
	clear(c.secret.secret[:])
}

// drop takes p out of everything and forgets its keys.
func (c *core) drop(p *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removed = true
	c.forgetHandshake(p)
	c.forgetSessions(p)
	p.purge()
	p.timers.stop()
	p.psk.Zero()
	clear(p.static[:])
	p.path.Store(nil)
	c.agenda.remove(p)
}
