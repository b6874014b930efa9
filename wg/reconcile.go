package wg

import (
	"fmt"
	"net/netip"
	"time"

	"adit/packet"
)

// A Peer is the configuration of one peer.
type Peer struct {
	PublicKey    PublicKey
	PresharedKey PresharedKey   // zero: none
	Endpoint     Endpoint       // zero: the peer has to speak first
	AllowedIPs   []netip.Prefix // what is sent to it and believed from it
	Keepalive    time.Duration  // the persistent one. If zero, off

	// Accepted is what PeerStatus.Accepted was when the engine last knew the
	// peer: initiations that are not later are replays. Zero: none is.
	Accepted [12]byte
}

// An Endpoint is where a peer is: an address or a name, and a UDP port. All
// the addresses of a name are tried.
type Endpoint struct {
	Host string
	Port uint16
}

// isLiteral reports whether the host is an address and no name.
func (e Endpoint) isLiteral() bool {
	_, err := netip.ParseAddr(e.Host)
	return err == nil
}

// maxKeepalive is the longest persistent keepalive that wg(8) can express.
const maxKeepalive = 65535 * time.Second

// check returns what is wrong with the configuration of a peer.
func (p *Peer) check() error {
	switch {
	case p.Endpoint.Host != "" && p.Endpoint.Port == 0:
		return fmt.Errorf("peer %s: the endpoint has no port", p.PublicKey.Short())
	case p.Keepalive < 0 || p.Keepalive > maxKeepalive:
		return fmt.Errorf("peer %s: keepalive %v is not between 0 and 65535 seconds", p.PublicKey.Short(), p.Keepalive)
	}
	for _, a := range p.AllowedIPs {
		if !a.IsValid() {
			return fmt.Errorf("peer %s: an allowed IP is not valid", p.PublicKey.Short())
		}
	}
	return nil
}

// setPeers makes the peers those of list: others go, new ones come, and those
// that stay keep their sessions. Of two peers with the same prefix the later
// one has it. A peer with our own key is left out: packets to ourselves need
// no tunnel (netlink.c). If connect, peers that are new or have a new endpoint
// are shaken hands with at once.
//
// On an error nothing has changed. One goroutine at a time.
func (c *core) setPeers(now Instant, list []Peer, connect bool, out *output) error {
	old, self := c.roster.Load(), c.self.Load()
	next := &roster{byKey: make(map[PublicKey]*peer, len(list))}
	for i := range list {
		cfg := &list[i]
		if err := cfg.check(); err != nil {
			return err
		}
		if cfg.PublicKey == self.public && !self.none {
			continue
		}
		if next.byKey[cfg.PublicKey] != nil {
			return fmt.Errorf("peer %s is there twice", cfg.PublicKey.Short())
		}
		p := old.byKey[cfg.PublicKey]
		if p == nil {
			p = newPeer(cfg.PublicKey, self)
		}
		next.byKey[cfg.PublicKey] = p
		next.list = append(next.list, p)
		for _, a := range cfg.AllowedIPs {
			next.routes.insert(unmapPrefix(a), p)
		}
	}
	for i := range list {
		if p := next.byKey[list[i].PublicKey]; p != nil {
			c.configure(now, p, &list[i], connect, out)
		}
	}
	c.roster.Store(next)
	for key, p := range old.byKey {
		if next.byKey[key] == nil {
			c.drop(p)
		}
	}
	return nil
}

// newPeer returns a peer of id with that key.
func newPeer(key PublicKey, id *identity) *peer {
	p := &peer{key: key, self: id}
	if id.none {
		p.lowOrder = key.IsLowOrder()
		return p
	}
	var err error
	p.static, err = id.dh((*[32]byte)(&key)) // says the same as IsLowOrder
	p.lowOrder = err != nil
	return p
}

// configure applies cfg to p.
func (c *core) configure(now Instant, p *peer, cfg *Peer, connect bool, out *output) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.psk = cfg.PresharedKey // for the next handshake; sessions stay
	if ts := timestamp(cfg.Accepted); ts.later(p.accepted) {
		p.accepted = ts
	}
	t := &p.timers
	if p.endpoint != cfg.Endpoint {
		p.endpoint = cfg.Endpoint
		p.candidates = nil
		p.tryAll = true
		if a, err := netip.ParseAddr(cfg.Endpoint.Host); err == nil {
			at := netip.AddrPortFrom(a.Unmap(), cfg.Endpoint.Port)
			p.candidates = []netip.AddrPort{at}
			p.path.Store(&packet.Path{Remote: at})
		}
		if connect && p.reachable() {
			c.askAddresses(p, out)
			// A keepalive that had nowhere to go has it now.
			if c.eager(p) || t.interval > 0 && p.current.Load() == nil {
				t.wantHandshake(now)
			}
		}
	}
	if t.interval != cfg.Keepalive {
		t.interval, t.persistent = cfg.Keepalive, 0
		if connect && t.interval > 0 { // "wg set" sends one at once (netlink.c)
			c.keepalive(now, p, out)
		}
	}
	p.touch(&c.agenda)
}

// eager reports whether there is a reason to shake hands with p before there is
// a packet to it: one that waits, or an endpoint. p.mu must be held.
func (c *core) eager(p *peer) bool {
	return len(p.staged) > 0 || p.endpoint.Host != "" && !c.onDemand
}

// connect shakes hands with every peer that has an endpoint, without waiting
// for a packet to it.
func (c *core) connect(now Instant) {
	for _, p := range c.roster.Load().list {
		p.mu.Lock()
		if p.reachable() && p.current.Load() == nil && (c.eager(p) || p.timers.interval > 0) {
			p.timers.wantHandshake(now)
			p.touch(&c.agenda)
		}
		p.mu.Unlock()
	}
}

// unmapPrefix returns an IPv4 prefix for one that is written as IPv6.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}
