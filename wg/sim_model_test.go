package wg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

// A week is a world in which whatever may happen does, as its seed says, and
// what is known about it without asking the engines: who may say what to whom,
// what was sent, and when each pair has to be able to talk.
type week struct {
	*world
	sites   []*site
	parcels map[uint32]*parcel
	count   counts
	diary   []string // what happened, for whoever reads of a failure
	clumsy  bool     // there are persistent keepalives: it is never silent
	quiet   Instant  // since when nobody has sent or changed anything; 0: not now
	slowest time.Duration
}

// counts are what weeks have seen: a model in which nothing happens proves
// nothing.
type counts struct {
	parcels, delivered, handshakes, datagrams   int
	talks, excused, wakings, meetings, silences int
	injected, moves, restarts, changes, loaded  int
	lookups, seedsWithNATs                      int
}

func (c *counts) add(o counts) {
	c.parcels += o.parcels
	c.delivered += o.delivered
	c.handshakes += o.handshakes
	c.datagrams += o.datagrams
	c.talks += o.talks
	c.excused += o.excused
	c.wakings += o.wakings
	c.meetings += o.meetings
	c.silences += o.silences
	c.injected += o.injected
	c.moves += o.moves
	c.restarts += o.restarts
	c.changes += o.changes
	c.loaded += o.loaded
	c.lookups += o.lookups
	c.seedsWithNATs += o.seedsWithNATs
}

// A site is a node with its configuration.
type site struct {
	*node
	m       *week
	i       int
	inside  [2]netip.AddrPort // IPv4 and IPv6
	home    netip.AddrPort
	conf    map[*site]*Peer // the peers as configured, those named in SetPeers
	saved   timestamp       // what a careful user keeps between runs
	behind  *wgtest.NAT
	started Instant

	careless bool // was once started without saved
}

// A parcel is a packet on its way through a tunnel.
type parcel struct {
	from, to *site
	sent     Instant
	bytes    []byte
	came     bool
}

// unsealed is in every parcel: nobody outside may ever read it.
var unsealed = []byte("not for the eyes of eavesdroppers")

// A failure ends a week.
type failure string

func (m *week) Helper() {}

// Fatalf implements wgtest.T.
func (m *week) Fatalf(format string, args ...any) {
	panic(failure(fmt.Sprintf("after %v: ", m.age()) + fmt.Sprintf(format, args...)))
}

func (m *week) age() time.Duration { return time.Duration(m.now - simStart) }

func (m *week) note(format string, args ...any) {
	m.diary = append(m.diary, fmt.Sprintf("%v: %s", m.age(), fmt.Sprintf(format, args...)))
}

// newWeek draws who there is, where, and who knows whom.
func newWeek(seed uint64) *week {
	m := &week{world: newWorld(nil, seed), parcels: make(map[uint32]*parcel)}
	m.Eve.Tap = m.watch
	m.Weather.Delay = m.upTo(150 * time.Millisecond)
	for i := range 2 + m.Rand.IntN(5) {
		m.found(i)
	}
	for i, s := range m.sites {
		for j := range i {
			// A line at least, so that nobody is alone; then as chance has it.
			if j == i-1 || m.Chance(0.4) {
				m.acquaint(s, m.sites[j])
			}
		}
	}
	for _, s := range m.sites {
		s.apply()
	}
	return m
}

func (m *week) upTo(d time.Duration) time.Duration { return time.Duration(m.Rand.Int64N(int64(d))) }

func (m *week) oneOf(list []*site) *site { return list[m.Rand.IntN(len(list))] }

// found makes site i.
func (m *week) found(i int) {
	s := &site{m: m, i: i, conf: make(map[*site]*Peer), started: m.now}
	s.home = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 51820)
	if m.Chance(0.3) {
		s.home = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i+1)), 51820)
	}
	s.inside[0] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 7)
	s.inside[1] = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fd00::%d", i+1)), 7)
	s.node = m.add(s.home)
	s.node.gotBy, s.node.delivered = s.receive, s.after
	if i > 0 && m.Chance(0.4) {
		s.behind = &wgtest.NAT{
			Outside:   netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}),
			Timeout:   []time.Duration{0, 2 * time.Second, 30 * time.Second, 5 * time.Minute}[m.Rand.IntN(4)],
			PerFarEnd: m.Chance(0.3), Open: m.Chance(0.3),
		}
		s.Behind(s.behind)
		m.count.seedsWithNATs = 1
	}
	m.sites = append(m.sites, s)
}

// acquaint makes two sites peers of each other. Who can be reached may be
// known to the other by address or by name; one at least is.
func (m *week) acquaint(s, o *site) {
	var psk PresharedKey
	if m.Chance(0.4) {
		psk.b = m.bytes32()
	}
	for _, x := range [][2]*site{{s, o}, {o, s}} {
		me, you := x[0], x[1]
		p := &Peer{PublicKey: you.key.Public(), PresharedKey: psk}
		for _, a := range you.inside {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
		if you.behind == nil && (m.Chance(0.7) || me.behind != nil || you == o) {
			p.Endpoint = endpointAt(you.home)
			if m.Chance(0.3) {
				p.Endpoint.Host = fmt.Sprintf("%c.example", 'a'+you.i)
			}
		}
		if m.Chance(0.1) {
			p.Keepalive = (4*time.Hour + m.upTo(14*time.Hour)).Round(time.Second)
			m.clumsy = true
		}
		me.conf[you] = p
	}
}

// apply is SetPeers of the configuration as it is.
func (s *site) apply() {
	list := make([]Peer, 0, len(s.conf))
	for _, o := range s.m.sites {
		if p := s.conf[o]; p != nil {
			list = append(list, *p)
		}
	}
	s.m.touch()
	s.m.Skip(time.Duration(s.m.now))
	if err := s.core.setPeers(s.m.now, list, true, s.out); err != nil {
		s.m.Fatalf("set peers of %v: %v", s, err)
	}
	s.deliver()
}

// touch ends the quiet.
func (m *week) touch() { m.quiet = 0 }

// after is the shell's part, after each call of the core.
func (s *site) after() {
	if s.core.lastStamp != (timestamp{}) {
		s.saved = s.core.lastStamp
	}
	s.events = nil
	s.got = nil
	asked := s.ask
	s.ask = nil
	for _, r := range asked {
		s.lookup(r)
	}
	s.modest()
}

// lookup answers a question for the address of a name, after a while.
func (s *site) lookup(r resolveRequest) {
	m, c := s.m, s.core
	m.count.lookups++
	m.After(m.upTo(2*time.Second), func() {
		if s.core != c {
			return // it was a life ago
		}
		m.now = Instant(m.Now())
		var addrs []netip.Addr
		var err error
		if i := slices.IndexFunc(m.sites, func(o *site) bool { return r.host == fmt.Sprintf("%c.example", 'a'+o.i) }); i >= 0 {
			addrs = []netip.Addr{m.sites[i].Addr().Addr()}
		}
		if m.Weather.Lose > 0 && m.Chance(0.3) {
			addrs, err = nil, errors.New("no answer")
		}
		c.resolved(m.now, r, addrs, err, s.out)
		s.deliver()
	})
}

// write sends a new parcel to o into s's tunnel.
func (s *site) write(o *site) *parcel { return s.writeMany(o, 1)[0] }

// writeMany sends n new parcels to o into s's tunnel, in one batch.
func (s *site) writeMany(o *site, n int) (list []*parcel) {
	m := s.m
	m.touch()
	b := s.out.pool.Get().(*packet.Batch)
	b.Reset()
	b.SetRoom(Room(1420))
	for range n {
		p := s.newParcel(o)
		copy(b.Append(len(p.bytes)), p.bytes)
		list = append(list, p)
	}
	m.Skip(time.Duration(m.now))
	s.core.seal(m.now, b, nil)
	s.transmit(b)
	s.out.pool.Put(b)
	s.modest()
	return list
}

// newParcel makes a packet from s to o, unlike any other.
func (s *site) newParcel(o *site) *parcel {
	m := s.m
	id := uint32(len(m.parcels) + 1)
	family := m.Rand.IntN(2)
	pkt := wgtest.UDP(s.inside[family], o.inside[family], 100+m.Rand.IntN(40), unsealed)
	if m.Chance(0.02) {
		pkt = wgtest.UDP(s.inside[family], o.inside[family], 1420, unsealed)
	}
	binary.BigEndian.PutUint32(pkt[len(pkt)-4:], id)
	markTOS(pkt, uint8(m.Rand.UintN(256)))
	p := &parcel{from: s, to: s.owner(o.inside[family].Addr()), sent: m.now, bytes: pkt}
	m.parcels[id] = p
	m.count.parcels++
	return p
}

// markTOS writes an IP packet's TOS byte or traffic class.
func markTOS(pkt []byte, tos uint8) {
	if pkt[0]>>4 == 6 {
		pkt[0], pkt[1] = 0x60|tos>>4, tos<<4
		return
	}
	pkt[1], pkt[10], pkt[11] = tos, 0, 0
	binary.BigEndian.PutUint16(pkt[10:], wgtest.Checksum(pkt[:20]))
}

// owner returns the peer that s routes a to, and believes a of.
func (s *site) owner(a netip.Addr) *site {
	for _, o := range s.m.sites {
		if p := s.conf[o]; p != nil && slices.ContainsFunc(p.AllowedIPs, func(n netip.Prefix) bool { return n.Contains(a) }) {
			return o
		}
	}
	return nil
}

// receive checks what came out of the tunnel, carried by msg.
func (s *site) receive(msg, pkt []byte) {
	m := s.m
	if len(pkt) < 4 {
		m.Fatalf("%v got %x, which nobody sent", s, pkt)
	}
	p := m.parcels[binary.BigEndian.Uint32(pkt[len(pkt)-4:])]
	switch {
	case p == nil || !bytes.Equal(p.bytes, pkt):
		m.Fatalf("%v got %x, which nobody sent", s, pkt)
	case p.came:
		m.Fatalf("%v got twice what %v sent at %v", s, p.from, time.Duration(p.sent-simStart))
	case p.to != s:
		m.Fatalf("%v got what %v sent to %v", s, p.from, p.to)
	case s.owner(sourceOf(pkt)) != p.from:
		m.Fatalf("%v got a packet from %v by %v, which may not send it", s, sourceOf(pkt), p.from)
	}
	p.came = true
	m.count.delivered++
	key := s.core.index.lookup(binary.LittleEndian.Uint32(msg[dataReceiver:])).session
	if key == nil || key.created.since(m.now) >= rejectAfterTime {
		m.Fatalf("%v took a packet under a key that is too old, or gone", s)
	}
}

func sourceOf(pkt []byte) netip.Addr {
	if pkt[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(pkt[12:]))
	}
	return netip.AddrFrom16([16]byte(pkt[8:]))
}

// watch looks at what hosts send while their state can still be asked.
func (m *week) watch(h *wgtest.Heard) {
	if h.Host == nil {
		m.count.injected++
		return
	}
	m.count.datagrams++
	if h.Kind() != wgtest.Data {
		if h.Kind() == wgtest.Response {
			m.count.handshakes++
		}
		return
	}
	s := m.site(h.Host)
	index := binary.LittleEndian.Uint32(h.Data[dataReceiver:])
	for _, p := range s.core.roster.Load().byKey {
		if cur := p.current.Load(); cur != nil && cur.remote == index {
			if age := cur.created.since(Instant(h.At)); age >= rejectAfterTime {
				m.Fatalf("%v sent data under a key that was %v old (§6.2)", s, age)
			}
			return
		}
	}
	m.Fatalf("%v sent data in a session that is not its current one", s)
}

func (m *week) site(h *wgtest.Host) *site {
	for _, s := range m.sites {
		if s.Host == h {
			return s
		}
	}
	return nil
}

// modest fails if s keeps more than the protocol asks for.
func (s *site) modest() {
	m, peers := s.m, s.core.roster.Load().byKey
	if n := len(s.core.index.m); n > 4*len(peers) { // three sessions and a handshake each (§6.3)
		m.Fatalf("%v has %d indices for %d peers", s, n, len(peers))
	}
	if n := len(s.core.agenda.heap); n > len(peers) {
		m.Fatalf("%v has %d deadlines for %d peers", s, n, len(peers))
	}
	if n := len(s.core.sources.full); n > maxSources {
		m.Fatalf("%v remembers %d sources", s, n)
	}
	for _, p := range peers {
		if n := len(p.staged); n > maxStaged {
			m.Fatalf("%v stages %d packets", s, n)
		}
	}
}
