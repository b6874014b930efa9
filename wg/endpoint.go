package wg

import (
	"net/netip"
	"slices"
	"time"

	"adit/packet"
)

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
		p.unresolved++
		out.event(p, ResolveFailed, func(e *Event) { e.Err, e.Attempt = err, p.unresolved })
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
	p.candidates, p.unresolved = fresh, 0
	out.event(p, Resolved, func(e *Event) { e.Addresses = fresh })
	switch {
	case t.retransmit == 0:
	case p.handshake == nil: // nothing could be sent until now
		t.beginAllowed(now)
	case len(added) > 0 && (p.tryAll || p.path.Load() == nil):
		c.sendInitiation(p, added, out)
	}
	p.touch(&c.agenda)
}

// resolveAgainAfter is the time between two questions for a name that does not
// resolve (yet).
const resolveAgainAfter = 2 * time.Second

// networkChanged proves the ways to all peers again: the host's addresses or routes are
// other ones, or it was asleep. For keeps see forgetSources.
func (c *core) networkChanged(now Instant, keeps func(*packet.Path) bool, out *output) {
	c.forgetSources(keeps)
	for _, p := range c.roster.Load().list {
		p.mu.Lock()
		if p.reachable() && !p.removed && (p.endpoint.Host != "" || p.current.Load() != nil) {
			p.tryAll = true
			c.askAddresses(p, out)
			p.timers.wantHandshake(now)
			if h := p.handshake; h != nil && p.timers.retransmit != 0 && !h.late(now) && p.jar.sent {
				// It may have found no network. A peer that has it takes this
				// for a replay; one that sent a cookie is not to get it (§6.6).
				c.sendInitiation(p, p.ways(), out)
			}
			if p.current.Load().sendable(now) {
				c.keepalive(now, p, out) // the peer follows it at once; the handshake may have to wait
			}
			p.touch(&c.agenda)
		}
		p.mu.Unlock()
	}
}

// forgetSources lets the kernel choose again what peers are spoken to from. A way that
// keeps holds to is kept, one that it does not hold to is left, see [peer.roam]; nil
// holds to none and leaves none. It may ask the kernel, and is called without any lock.
func (c *core) forgetSources(keeps func(*packet.Path) bool) {
	for _, p := range c.roster.Load().byKey {
		p.mu.Lock()
		way, left := p.path.Load(), p.left
		p.mu.Unlock()
		forget := way != nil && way.HasSource() && (keeps == nil || !keeps(way))
		again := left != nil && keeps != nil && keeps(left)
		p.mu.Lock()
		if again && p.left == left {
			p.left = nil
		}
		if forget && p.path.Load() == way {
			if keeps != nil {
				p.left = way
			}
			p.forgetSource()
		}
		p.mu.Unlock()
	}
}
