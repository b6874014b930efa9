package wg

import "sync"

// An identity is who we are, and what follows from it. But for the private key
// being forgotten it does not change: a new key makes a new identity, and every
// peer says which one its state belongs to. So whoever holds a peer's mu sees
// a key and a static-static secret that go together, whatever key is being set
// meanwhile.
type identity struct {
	none      bool // there is no private key: nothing is answered, nothing sent
	public    PublicKey
	mac1Key   [32]byte // of messages to us
	cookieKey [32]byte // of cookie replies from us

	mu      sync.Mutex // guards private; innermost
	private PrivateKey // zero once forgotten
}

// newIdentity returns the identity that goes with the key. The zero key makes
// that of nobody.
func newIdentity(private PrivateKey) *identity {
	if private.IsZero() {
		return &identity{none: true}
	}
	public := private.Public()
	return &identity{private: private, public: public, mac1Key: mac1Key(public), cookieKey: cookieKey(public)}
}

// dh returns the product of our private key and public.
func (id *identity) dh(public *[32]byte) (shared [32]byte, err error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return dh(&id.private.b, public)
}

// forget overwrites the private key. Whoever still goes by it finds that what
// it opens is not authentic.
func (id *identity) forget() {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.private.Zero()
}

// is reports whether the identity is that of the key.
func (id *identity) is(private PrivateKey) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.private.Equal(private)
}

// setPrivateKey makes us the owner of another key, or of none. Nothing that was
// agreed upon under the old one is used any more. A peer that has the new key
// is ourselves, and goes. If connect, the other peers are shaken hands with at
// once, as far as they can be (netlink.c, wg_set_device; noise.c,
// wg_noise_expire_current_peer_keypairs). The key that is set already changes
// nothing, as there.
//
// One goroutine at a time, which may be that of setPeers.
func (c *core) setPrivateKey(now Instant, private PrivateKey, connect bool) {
	old := c.self.Load()
	if old.is(private) {
		return
	}
	id := newIdentity(private)
	roster := c.roster.Load()
	if own := roster.byKey[id.public]; own != nil && !id.none {
		roster = roster.without(own)
		c.roster.Store(roster)
		c.drop(own)
	}
	c.self.Store(id)
	for _, p := range roster.list {
		p.mu.Lock()
		c.adopt(p, id)
		if connect && p.reachable() && (c.eager(p) || p.timers.interval > 0) {
			p.timers.wantHandshake(now)
		}
		p.touch(&c.agenda)
		p.mu.Unlock()
	}
	old.forget()
}

// adopt makes p the peer of id, with which it never spoke. p.mu must be held.
func (c *core) adopt(p *peer, id *identity) {
	c.forgetHandshake(p)
	c.forgetSessions(p)
	p.timers.stop()
	p.timers.lastSent = 0 // to the peer we are somebody else
	p.met = false
	p.bind(id)
}

// without returns the roster less p and what is routed to it.
func (r *roster) without(p *peer) *roster {
	next := &roster{byKey: make(map[PublicKey]*peer, len(r.byKey))}
	for _, q := range r.list {
		if q != p {
			next.byKey[q.key] = q
			next.list = append(next.list, q)
		}
	}
	next.routes.v4 = r.routes.v4.without(p)
	next.routes.v6 = r.routes.v6.without(p)
	return next
}
