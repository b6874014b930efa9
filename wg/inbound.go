package wg

import (
	"encoding/binary"

	"adit/packet"
	"adit/wg/aead"
)

// A run is what came in one after the other in one session: the peer's state
// is touched once for all of it.
type run struct {
	peer    *peer
	session *session // acquired
	way     *packet.Path
	bytes   uint64 // of what was taken
	data    bool   // there was a packet, not only keepalives
	any     bool   // there was an authentic message

	// The last source that the peer was found to speak for: it is seldom
	// another than that of the packet before.
	source  address
	version byte // of it; 0: none yet
}

// An inbox is the data messages of a run, until they are opened together.
type inbox struct {
	batch  *packet.Batch // where they lie; nil outside of receive
	sealed aead.Batch
	at     [packet.MaxPackets]uint8 // message → its number in batch
}

// receive takes the datagrams of b and leaves in it the IP packets that they
// carried, in place; all else is dropped from it. One goroutine at a time. It
// allocates nothing for data.
func (c *core) receive(now Instant, b *packet.Batch, out *output) {
	c.inbox.batch = b
	var r run
	var lastIndex uint32
	for i := range b.Len() {
		msg := b.Packet(i)
		if len(msg) == 0 {
			continue
		}
		t := messageType(msg)
		if t != typeData {
			c.endRun(now, &r, out)
			c.control(now, t, msg, b.Path(i), out)
			b.Drop(i)
			continue
		}
		index := binary.LittleEndian.Uint32(msg[dataReceiver:])
		if r.session == nil || index != lastIndex {
			c.endRun(now, &r, out)
			if !c.beginRun(now, &r, index) {
				b.Drop(i)
				continue
			}
			lastIndex = index
		}
		counter := binary.LittleEndian.Uint64(msg[dataCounter:])
		if counter >= rejectAfterMessages { // §6.2; checked again by the window
			c.drops.replayed.Add(1)
			b.Drop(i)
			continue
		}
		c.inbox.at[c.inbox.sealed.Len()] = uint8(i)
		c.inbox.sealed.Add(msg[headerLen:], counter)
	}
	c.endRun(now, &r, out)
	c.inbox.batch = nil
}

// beginRun finds the session of a receiver index.
func (c *core) beginRun(now Instant, r *run, index uint32) bool {
	e := c.index.lookup(index)
	if e.session == nil || !e.session.fresh(now) || !e.session.acquire() {
		c.drops.noSession.Add(1)
		return false
	}
	*r = run{peer: e.peer, session: e.session}
	return true
}

// openRun turns the messages of the run into the packets that they carry.
func (c *core) openRun(r *run) {
	b, sealed, routes := c.inbox.batch, &c.inbox.sealed, &c.roster.Load().routes
	r.session.recv.Open(sealed)
	for k := range sealed.Len() {
		i := int(c.inbox.at[k])
		if !sealed.OK(k) {
			c.drops.badTag.Add(1)
			b.Drop(i)
		} else if !c.takeData(r, routes, b, i, sealed.Counter(k)) {
			b.Drop(i)
		}
	}
	sealed.Reset()
}

// takeData takes the packet out of message i of b, which is authentic. It
// reports false if there is none for us.
func (c *core) takeData(r *run, routes *allowedIPs, b *packet.Batch, i int, counter uint64) bool {
	if r.session.replay == nil {
		r.session.replay = new(replayWindow)
	}
	if !r.session.replay.accept(counter) {
		c.drops.replayed.Add(1)
		return false
	}
	r.any, r.way = true, b.Path(i)
	msg := b.Packet(i)
	size := uint64(len(msg)) // counts as received if the packet is taken (receive.c, update_rx_stats)
	pkt := msg[headerLen : len(msg)-tagLen]
	if len(pkt) == 0 {
		r.bytes += size
		return false // a keepalive
	}
	r.data = true
	n := innerLength(pkt)
	if n == 0 {
		c.drops.malformed.Add(1)
		return false
	}
	if !r.speaksFor(routes, pkt) { // §2: a peer may only speak for its own
		c.drops.sourceDenied.Add(1)
		return false
	}
	decapsulateECN(pkt[:n], b.TOS(i)&ecnMask)
	b.SetPacket(i, b.Offset(i)+headerLen, n)
	r.bytes += size
	return true
}

// innerLength returns the size of the IP packet at the beginning of pkt, which
// zeros may follow; 0 if there is none. The sum is made in an int: in 16 bits
// it would wrap.
func innerLength(pkt []byte) int {
	switch {
	case pkt[0]>>4 == 4 && len(pkt) >= 20:
		n := int(binary.BigEndian.Uint16(pkt[2:]))
		if n >= 20 && n <= len(pkt) {
			return n
		}
	case pkt[0]>>4 == 6 && len(pkt) >= 40:
		n := 40 + int(binary.BigEndian.Uint16(pkt[4:]))
		if n <= len(pkt) {
			return n
		}
	}
	return 0
}

// speaksFor reports whether packets from pkt's source may come from the peer.
func (r *run) speaksFor(routes *allowedIPs, pkt []byte) bool {
	var from address
	version, root := pkt[0]>>4, routes.v4
	if version == 4 {
		from = address4(pkt[12:16])
	} else {
		from, root = address6(pkt[8:24]), routes.v6
	}
	if version == r.version && from == r.source {
		return true
	}
	if lookupTrie(root, from) != r.peer {
		return false
	}
	r.source, r.version = from, version
	return true
}

// endRun opens what came in one after the other and tells the peer of it.
func (c *core) endRun(now Instant, r *run, out *output) {
	if r.session == nil {
		return
	}
	c.openRun(r)
	if r.any {
		p := r.peer
		p.mu.Lock()
		if !p.removed {
			c.heard(now, r, p, out)
		}
		p.mu.Unlock()
	}
	r.session.release()
	*r = run{}
}

// heard is endRun for a peer whose mu is held.
func (c *core) heard(now Instant, r *run, p *peer, out *output) {
	p.rx += r.bytes
	if r.way != nil && p.roam(r.way) {
		out.event(p, EndpointChanged)
	}
	t := &p.timers
	if p.upcoming == r.session {
		c.beginFlush(p, out)
	}
	if c.confirm(p, r.session) {
		c.sessionUp(now, p, out)
		c.flush(now, p, out)
	}
	p.keepFreshReceiving(now)
	t.authenticatedReceived(now)
	if r.data {
		t.dataReceived(now)
	}
	p.touch(&c.agenda)
}
