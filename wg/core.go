package wg

import (
	"encoding/binary"
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
// to one, which may be another. What configures, setPeers and its like, belongs
// to one at a time. Locks nest peer.mu → agenda.mu, index.mu, identity.mu.
type core struct {
	self   atomic.Pointer[identity]
	random func([]byte)            // fills with random bytes
	wall   func(Instant) time.Time // the time of day, for the timestamps of initiations alone
	roster atomic.Pointer[roster]
	index  indexTable
	agenda agenda
	drops  drops

	// flushing: what was staged has a session and is on its way to the
	// Transport. It is set before the session can be seen, by receive, and
	// cleared by whoever sends the output that has the packets: until then
	// packets that were sealed later have to wait, or they would overtake.
	flushing atomic.Bool

	onDemand bool // no handshake before there is something to send; does not change

	lastStamp timestamp // of the last initiation made; belongs to advance

	// What follows belongs to receive.
	inbox   inbox
	secret  cookieSecret
	load    loadMeter
	sources sourceLimiter
}

// A roster is who the peers are and what is routed to them. It does not change;
// a new one takes its place.
type roster struct {
	byKey  map[PublicKey]*peer
	list   []*peer // in the order in which they were given
	routes allowedIPs
}

func newCore(private PrivateKey, random func([]byte), wall func(Instant) time.Time) *core {
	c := &core{random: random, wall: wall}
	c.self.Store(newIdentity(private))
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
		c.forgetSessions(p)
		if p.handshake != nil && !p.handshake.late(now) { // its response is on the way: not now
			t.zeroKeys = p.handshake.sent.after(rekeyTimeout + rekeyTimeoutJitter)
		} else {
			c.forgetHandshake(p)
		}
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
	if passed(&t.retransmit, now) {
		c.retry(now, p, out)
	}
	if passed(&t.begin, now) {
		c.initiate(now, p, out)
	}
	// After what may have replaced the initiation: both could be due at once, on
	// waking, and of two that come together the peer takes the older one.
	if passed(&t.resend, now) && p.handshake != nil && t.retransmit != 0 {
		c.sendInitiation(p, p.ways(), out)
		t.nextCopy(p.handshake.sent)
	}
}

// close forgets every key.
func (c *core) close() {
	for _, p := range c.roster.Swap(&roster{}).byKey {
		c.drop(p)
	}
	c.self.Load().forget()
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
