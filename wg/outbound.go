package wg

import (
	"adit/packet"
	"adit/wg/aead"
)

// seal carries the IP packets of b into the tunnel: each becomes a data message
// to the peer that its destination is routed to. What cannot be sent is dropped
// from b: staged if a session is on its way, else given to unreachable, if that
// is not nil. It allocates nothing unless it stages. Safe for concurrent use
// with different batches.
func (c *core) seal(now Instant, b *packet.Batch, unreachable *rejects) {
	var to [packet.MaxPackets]*peer
	c.route(b, &to, unreachable)
	n := b.Len()
	for i := 0; i < n; {
		if to[i] == nil {
			i++
			continue
		}
		j := i + 1
		for j < n && (to[j] == to[i] || len(b.Packet(j)) == 0) {
			j++
		}
		c.sealRun(now, b, i, j, to[i], unreachable)
		i = j
	}
}

// route finds the peer of each packet, and drops those that have none.
func (c *core) route(b *packet.Batch, to *[packet.MaxPackets]*peer, unreachable *rejects) {
	routes := &c.roster.Load().routes
	var last address
	var lastVersion byte
	var p *peer
	for i := range b.Len() {
		pkt := b.Packet(i)
		if len(pkt) == 0 {
			continue
		}
		var dst address
		version := pkt[0] >> 4
		switch {
		case version == 4 && len(pkt) >= 20:
			dst = address4(pkt[16:20])
		case version == 6 && len(pkt) >= 40:
			dst = address6(pkt[24:40])
		default:
			c.drops.malformed.Add(1)
			b.Drop(i)
			continue
		}
		if version != lastVersion || dst != last {
			last, lastVersion = dst, version
			if version == 4 {
				p = lookupTrie(routes.v4, dst)
			} else {
				p = lookupTrie(routes.v6, dst)
			}
		}
		if p == nil {
			c.drops.noPeer.Add(1)
			unreachable.add(pkt)
			b.Drop(i)
			continue
		}
		to[i] = p
	}
}

// sealRun seals packets from..to of b, dropped ones among them, all for p.
func (c *core) sealRun(now Instant, b *packet.Batch, from, to int, p *peer, unreachable *rejects) {
	count := uint64(0)
	for i := from; i < to; i++ {
		if len(b.Packet(i)) > 0 {
			count++
		}
	}
	for {
		s, first := reserveCurrent(now, p, count)
		if s != nil {
			size := c.sealPackets(b, from, to, s, p.path.Load(), first)
			s.release()
			p.mu.Lock()
			p.tx += size
			p.timers.authenticatedSent(now)
			p.timers.dataSent(now)
			p.keepFreshSending(now, s)
			p.touch(&c.agenda)
			p.mu.Unlock()
			return
		}
		if c.hold(now, b, from, to, p, unreachable) {
			return
		}
	}
}

// reserveCurrent returns p's current session, acquired, and the first of n
// counters of it; nil if there is none to send in.
func reserveCurrent(now Instant, p *peer, n uint64) (*session, uint64) {
	s := p.current.Load()
	if !s.sendable(now) || p.path.Load() == nil || !s.acquire() {
		return nil, 0
	}
	first, ok := s.reserve(n)
	if !ok {
		s.release()
		return nil, 0
	}
	return s, first
}

// sealPackets seals the packets in place and returns how many bytes they are.
func (c *core) sealPackets(b *packet.Batch, from, to int, s *session, way *packet.Path, counter uint64) (size uint64) {
	slab, room := b.Slab(), b.Room()
	q := ciphers.Get().(*aead.Batch)
	for i := from; i < to; i++ {
		pkt := b.Packet(i)
		n := len(pkt)
		if n == 0 {
			continue
		}
		off, padded := b.Offset(i), room.Padded(n)
		if off < headerLen || off+padded+tagLen > len(slab) || headerLen+padded+tagLen > maxDataLen || way == nil {
			c.drops.malformed.Add(1) // too long, or a batch without the room it has to have
			b.Drop(i)
			continue
		}
		b.SetTOS(i, innerECN(pkt))
		s.frame(q, slab, off, n, padded, counter)
		counter++
		b.SetPacket(i, off-headerLen, headerLen+padded+tagLen)
		b.SetPath(i, way)
		size += uint64(headerLen + padded + tagLen)
	}
	s.send.Seal(q)
	q.Reset()
	ciphers.Put(q)
	return size
}

// hold takes the packets out of b, for want of a session: to wait for one, or
// to be refused if the peer is nowhere. It reports false if meanwhile there is
// a session after all: whoever brought it has flushed what was staged before,
// and nobody would come for these.
func (c *core) hold(now Instant, b *packet.Batch, from, to int, p *peer, unreachable *rejects) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	cur, way := p.current.Load(), p.path.Load()
	if way != nil && cur.sendable(now) && cur.sent.Load() < rejectAfterMessages-packet.MaxPackets {
		return false
	}
	if p.removed || !p.reachable() {
		for i := from; i < to; i++ {
			if pkt := b.Packet(i); len(pkt) > 0 {
				c.drops.noEndpoint.Add(1)
				unreachable.add(pkt)
			}
		}
	} else {
		c.drops.staged.Add(uint64(p.stage(b, from, to)))
		p.timers.wantHandshake(now)
		p.touch(&c.agenda)
	}
	for i := from; i < to; i++ {
		b.Drop(i)
	}
	return true
}

// sendFailed forgets the source addresses of the ways that b was to be sent
// along: an address of ours that has gone is the usual reason.
func (c *core) sendFailed(b *packet.Batch) {
	var last *packet.Path
	for i := range b.Len() {
		way := b.Path(i)
		if way == nil || way == last {
			continue
		}
		last = way
		for _, p := range c.roster.Load().byKey {
			if p.path.Load() == way {
				p.mu.Lock()
				p.forgetSource()
				p.mu.Unlock()
			}
		}
	}
}
