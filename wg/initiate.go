package wg

import (
	"net/netip"

	"adit/packet"
)

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
	if p.mute() || len(ways) == 0 && p.endpoint.Host == "" {
		t.handshakeComplete() // nobody or nowhere: forget that it was wanted
		return
	}
	if len(ways) == 0 {
		c.askAddresses(p, out)
		t.handshakeInitiated(now, c.jitter())
		t.authenticatedTraversal(now)
		return
	}
	c.forgetHandshake(p)
	ts := newTimestamp(c.wall(now), c.lastStamp)
	h := &initiation{index: c.index.add(p, c.random), sent: now}
	if err := p.self.makeInitiation(h, p, ts, c.random); err != nil {
		c.index.remove(h.index) // a low-order key: mute says so before
		return
	}
	p.jar.addMACs(now, h.msg[:], p.key)
	p.handshake = h
	c.lastStamp, out.stamp, out.stamped = ts, ts, true
	t.failures++
	t.lastSent = now
	t.handshakeInitiated(now, c.jitter())
	t.authenticatedSent(now)
	if !p.met && t.failures == 1 && !c.onDemand {
		t.copies = 0
		t.nextCopy(now)
	}
	addrs := c.sendInitiation(p, ways, out)
	out.event(p, HandshakeStarted, func(e *Event) { e.Attempt, e.Addresses = t.failures, addrs })
}

// sendInitiation sends the initiation in flight along ways.
func (c *core) sendInitiation(p *peer, ways []*packet.Path, out *output) (addrs []netip.AddrPort) {
	for _, w := range ways {
		copy(out.datagram(initiationLen, w, handshakeTOS), p.handshake.msg[:])
		p.tx += initiationLen
		addrs = append(addrs, w.Remote)
	}
	return addrs
}
