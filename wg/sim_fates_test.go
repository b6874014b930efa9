package wg

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"adit/wg/wgtest"
)

// fates are what may happen in a week, and how often of a hundred times.
var fates = []struct {
	odds int
	do   func(m *week, s, o *site)
}{
	{14, (*week).burst},
	{7, (*week).partition},
	{8, (*week).rebind},
	{8, (*week).moveAway},
	{8, (*week).comeHome},
	{8, (*week).restarted},
	{5, (*week).turnClock},
	{8, (*week).suspend},
	{8, (*week).meet},
	{7, (*week).changePSK},
	{6, (*week).changeKey},
	{5, (*week).moveAllowedIPs},
	{5, (*week).forgetAndRemember},
	{5, (*week).changeKeepalive},
	{6, (*week).attack},
	{4, (*week).load},
	{5, (*week).hold},
}

// live lets the week pass: mostly nothing happens, then something does, in
// some weather, and when the sky is clear again two peers have to talk.
func (m *week) live(d time.Duration) {
	for end := m.now.after(d); m.now < end; {
		m.idle(m.upTo(m.upTo(24*time.Hour) + time.Minute))
		m.weather()
		s, o := m.pair()
		m.happen(s, o)
		if m.Chance(0.3) {
			m.happen(m.pair())
		}
		m.run(m.upTo(3 * time.Minute))
		m.clear()
		m.talk(m.pair())
		m.run(m.upTo(30 * time.Second))
	}
	m.note("the end")
	for _, s := range m.sites {
		for _, p := range s.conf {
			p.Keepalive = 0
		}
		s.apply()
	}
	m.clumsy = false
	m.run(m.slowest)
	m.idle(30 * time.Minute)
	m.Eve.NeverSeesANonceTwice(m)
	m.Eve.SeesOneHandshakePer(m, rekeyTimeout)
	m.Eve.SeesNoKeyOlderThan(m, rejectAfterTime+untilAgain) // somebody may hold a response back for as long as we wait for it
	m.Eve.SeesDataInMultiplesOf16(m, 1420)
	m.Eve.SeesNoClearText(m, unsealed)
	m.Eve.SeesOnlyMessages(m)
	m.Eve.SeesOnlyECNInDataTOS(m, 0x88)
}

// pair returns two peers.
func (m *week) pair() (s, o *site) {
	s = m.oneOf(m.sites)
	var peers []*site
	for _, o := range m.sites {
		if s.conf[o] != nil && o.conf[s] != nil {
			peers = append(peers, o)
		}
	}
	return s, m.oneOf(peers)
}

func (m *week) happen(s, o *site) {
	n := m.Rand.IntN(117)
	for _, f := range fates {
		if n -= f.odds; n < 0 {
			f.do(m, s, o)
			return
		}
	}
}

// weather draws the weather.
func (m *week) weather() {
	w := wgtest.Weather{Delay: m.Weather.Delay}
	if m.Chance(0.7) {
		w.Lose = 0.3 * m.Rand.Float64()
		w.Duplicate = 0.2 * m.Rand.Float64()
		w.Damage = 0.05 * m.Rand.Float64()
		w.Jitter = m.upTo(m.upTo(2*time.Second) + 1)
	}
	m.Weather = w
	m.slowest = max(m.slowest, w.Slowest())
}

// clear clears the sky and lets what is in the air come down.
func (m *week) clear() {
	late := m.Weather.Slowest()
	m.Heal()
	for _, s := range m.sites {
		s.wake()
	}
	m.run(late)
}

func (m *week) burst(s, o *site) {
	every := 50*time.Millisecond + m.upTo(m.upTo(20*time.Second)+1)
	m.note("a burst between %v and %v, every %v", s, o, every)
	both := m.Chance(0.7)
	for range 10 + m.Rand.IntN(40) {
		s.writeMany(o, 1+m.Rand.IntN(4))
		if both && m.Chance(0.7) {
			o.writeMany(s, 1+m.Rand.IntN(4))
		}
		m.run(m.upTo(every))
	}
}

func (m *week) partition(s, o *site) {
	m.note("the cable between %v and %v is cut", s, o)
	m.Cut(s.Host, o.Host)
	for range 1 + m.Rand.IntN(20) {
		s.write(o)
		m.run(m.upTo(20 * time.Second))
	}
}

func (m *week) rebind(s, o *site) {
	if s.behind == nil {
		s, o = o, s
	}
	if s.behind != nil {
		m.note("the NAT of %v rebinds", s)
		m.count.moves++
		s.behind.Rebind()
	}
	m.burst(s, o)
}

// moveAway gives s another address, at which it may or may not be told that its
// network is another.
func (m *week) moveAway(s, o *site) {
	m.burst(s, o)
	away := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(s.i + 1)}), uint16(1024+m.Rand.IntN(60000)))
	m.note("%v moves to %v", s, away)
	m.moved(s, away)
	m.burst(s, o)
}

func (m *week) comeHome(s, o *site) {
	m.note("%v comes home", s)
	m.moved(s, s.home)
	m.burst(o, s)
}

func (m *week) moved(s *site, to netip.AddrPort) {
	m.count.moves++
	s.Move(to)
	if m.Chance(0.5) {
		s.networkChanged()
	}
}

func (s *site) networkChanged() {
	s.m.touch()
	s.m.Skip(time.Duration(s.m.now))
	s.core.networkChanged(s.m.now, nil, s.out)
	s.deliver()
}

// restarted starts s anew, in the middle of something. A careful user has kept
// the timestamp; the clock of a careless one may have stopped.
func (m *week) restarted(s, o *site) {
	m.burst(s, o)
	careful := m.Chance(0.6)
	m.note("%v is started anew, timestamp kept: %v", s, careful)
	m.count.restarts++
	m.startAnew(s, careful)
	m.burst(s, o)
}

func (m *week) startAnew(s *site, careful bool) {
	s.restart()
	if careful {
		s.core.lastStamp = s.saved
	}
	s.careless = s.careless || !careful
	s.apply()
}

func (m *week) turnClock(s, o *site) {
	forth, back := m.upTo(m.upTo(400*24*time.Hour)+1), m.upTo(m.upTo(400*24*time.Hour)+1)
	by := forth - back
	m.note("the clock of %v is set by %v", s, by)
	s.skew += by
	m.burst(s, o)
	if m.Chance(0.3) {
		s.skew -= by
		m.startAnew(s, m.Chance(0.8))
	}
}

// suspend sends s to sleep. On waking it is told, before or after its timers,
// and must be able to talk within a round trip and 100 ms.
func (m *week) suspend(s, o *site) {
	m.clear()
	if now, _ := s.know(o); !m.talk(s, o) || !now {
		return
	}
	m.idle(m.upTo(10 * time.Second))
	d := []time.Duration{time.Second, m.upTo(10 * time.Minute), time.Hour, m.upTo(24 * time.Hour)}[m.Rand.IntN(4)]
	if m.Chance(0.02) {
		d = 7 * 24 * time.Hour
	}
	m.note("%v sleeps for %v", s, d)
	s.Sleep()
	m.idle(d)
	m.wakeAndTalk(s, o)
}

func (m *week) wakeAndTalk(s, o *site) {
	// At the very end of a key's life what s may still send is too old for o
	// when it comes: then it is lost.
	edge := func(k *session) bool {
		return k != nil && k.fresh(m.now) && !k.fresh(m.now.after(4*m.Weather.Delay+time.Second))
	}
	sPeer, oPeer := s.node.peer(o.node), o.node.peer(s.node)
	now, _ := s.know(o)
	early := sPeer.timers.lastSent.since(m.now) < rekeyTimeout && !sPeer.current.Load().sendable(m.now)
	excused := !now || early || edge(sPeer.current.Load()) || edge(oPeer.current.Load()) || edge(oPeer.upcoming) ||
		m.now < o.core.load.until || m.now < s.core.load.until || !m.knows(o, s, sPeer)
	s.wake()
	p := s.write(o)
	m.run(3*m.Weather.Delay + 100*time.Millisecond) // the round trip, and then the packet's own way
	if excused {
		m.count.excused++
		return
	}
	m.count.wakings++
	if !p.came {
		m.Fatalf("%v woke and could not talk to %v within a round trip and 100 ms\n%v\n%v", s, o, s.describe(o), o.describe(s))
	}
}

// knows reports whether o still has the session that s would send in.
func (m *week) knows(o, s *site, p *peer) bool {
	cur := p.current.Load()
	return !cur.sendable(m.now) || o.core.index.lookup(cur.remote).session != nil
}

// wake ends the sleep of s.
func (s *site) wake() {
	if !s.Asleep() {
		return
	}
	s.Wake()
	if s.m.Chance(0.5) {
		s.Advance(time.Duration(s.m.now))
	}
	s.networkChanged()
}

// meet makes both begin at once, half-way. Both handshakes are good, so that
// nobody waits for another five seconds (§6.1).
func (m *week) meet(s, o *site) {
	m.clear()
	m.idle(4 * time.Minute) // nobody has a session
	sNow, _ := s.know(o)
	oNow, _ := o.know(s)
	sPeer, oPeer := s.node.peer(o.node), o.node.peer(s.node)
	fit := func(s *site, p *peer) bool {
		return !p.current.Load().sendable(m.now) && p.lastInitiation.since(m.now) > rekeyTimeout && m.now >= s.core.load.until &&
			(p.timers.lastSent == 0 || p.timers.lastSent.since(m.now) > rekeyTimeout) && p.timers.retransmit == 0 && p.timers.begin == 0
	}
	fair := sNow && oNow && s.agrees(o) && fit(s, sPeer) && fit(o, oPeer)
	apart := m.upTo(m.Weather.Delay + 1)
	m.note("%v and %v begin at once, %v apart", s, o, apart)
	there := s.write(o)
	m.run(apart)
	back := o.write(s)
	m.run(3*m.Weather.Delay + time.Millisecond)
	if !fair {
		m.count.excused++
		return
	}
	m.count.meetings++
	if !there.came || !back.came {
		m.Fatalf("%v and %v began at once, and after a handshake's time: there %v, back %v\n%v\n%v",
			s, o, there.came, back.came, s.describe(o), o.describe(s))
	}
	s.write(o)
	o.write(s)
	m.run(m.Weather.Delay)
	if mine, yours := sPeer.current.Load(), oPeer.current.Load(); mine.local != yours.remote || mine.remote != yours.local {
		m.Fatalf("%v and %v began at once and do not agree on a session\n%v\n%v", s, o, s.describe(o), o.describe(s))
	}
}

// changePSK changes the preshared key of two peers, not at the same moment.
func (m *week) changePSK(s, o *site) {
	m.note("%v and %v change their preshared key", s, o)
	m.count.changes++
	var psk PresharedKey
	if m.Chance(0.8) {
		psk.b = m.bytes32()
	}
	s.conf[o].PresharedKey = psk
	s.apply()
	m.burst(s, o)
	o.conf[s].PresharedKey = psk
	o.apply()
}

// changeKey gives s another private key, perhaps after none, of which its peers
// hear later.
func (m *week) changeKey(s, o *site) {
	m.note("%v changes its private key", s)
	m.count.changes++
	m.burst(s, o)
	if m.Chance(0.3) {
		s.setKey(PrivateKey{})
		since := m.Now() + 1
		m.burst(s, o)
		m.Eve.HearsSilenceFrom(m, s.Host, since)
	}
	s.key = PrivateKey{b: m.bytes32()}
	s.key.clamp()
	s.setKey(s.key)
	m.burst(s, o)
	for _, o := range m.sites {
		if p := o.conf[s]; p != nil {
			p.PublicKey = s.key.Public()
			o.apply()
		}
	}
}

func (s *site) setKey(k PrivateKey) {
	s.m.touch()
	s.m.Skip(time.Duration(s.m.now))
	s.core.setPrivateKey(s.m.now, k, true)
	s.deliver()
}

// moveAllowedIPs gives another peer of s what is o's, for a while: what o sends
// from there must not come, and what goes there goes to the other.
func (m *week) moveAllowedIPs(s, o *site) {
	for _, x := range m.sites {
		if x == o || s.conf[x] == nil {
			continue
		}
		m.note("at %v the addresses of %v are those of %v", s, o, x)
		m.count.changes++
		a, b := s.conf[o], s.conf[x]
		mine, yours := a.AllowedIPs, b.AllowedIPs
		n := m.Rand.IntN(2) // how many of the two addresses stay
		a.AllowedIPs, b.AllowedIPs = mine[:n], append(slices.Clone(yours), mine[n:]...)
		s.apply()
		m.burst(s, o)
		m.burst(x, s)
		a.AllowedIPs, b.AllowedIPs = mine, yours
		s.apply()
		return
	}
}

// forgetAndRemember takes o from s's peers and puts it back.
func (m *week) forgetAndRemember(s, o *site) {
	m.note("%v forgets %v", s, o)
	m.count.changes++
	m.burst(s, o)
	p := s.conf[o]
	delete(s.conf, o)
	s.apply()
	m.burst(o, s)
	s.conf[o] = p
	m.note("%v remembers %v", s, o)
	s.apply()
}

// changeKeepalive turns a short persistent keepalive on for some minutes.
func (m *week) changeKeepalive(s, o *site) {
	p := s.conf[o]
	before := p.Keepalive
	p.Keepalive = time.Duration(1+m.Rand.IntN(60)) * time.Second
	m.note("a keepalive of %v from %v to %v", p.Keepalive, s, o)
	m.count.changes++
	s.apply()
	m.run(m.upTo(10 * time.Minute))
	p.Keepalive = before
	s.apply()
}

// load puts a site under load for a while, as if thousands had come.
func (m *week) load(s, o *site) {
	s.core.load.until = m.now.after(m.upTo(3 * time.Minute))
	m.note("%v is under load until %v", s, time.Duration(s.core.load.until-simStart))
	m.count.loaded++
	if m.Chance(0.5) {
		m.startAnew(s, true)
		s.core.load.until = m.now.after(m.upTo(3 * time.Minute))
	}
	m.burst(o, s)
}

// attack is somebody who has heard everything and may send anything, from
// anywhere: copies, damaged copies, reflections, noise.
func (m *week) attack(s, o *site) {
	m.note("an attack")
	m.burst(s, o)
	heard := m.Eve.Heard[max(0, len(m.Eve.Heard)-300):]
	for range 1 + m.Rand.IntN(60) {
		h := heard[m.Rand.IntN(len(heard))]
		from, to, data := h.From, h.To, slices.Clone(h.Data) // and as it was marked: marks may change on the way
		switch m.Rand.IntN(6) {
		case 0: // as it was
		case 1:
			from = netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:666", 100+m.Rand.IntN(100)))
		case 2:
			from, to = to, from
		case 3:
			data = data[:m.Rand.IntN(len(data)+1)]
		case 4:
			if len(data) > 0 { // what was cut to nothing was heard, too
				data[m.Rand.IntN(len(data))] ^= 1 << m.Rand.IntN(8)
			}
		case 5:
			to = m.oneOf(m.sites).Addr()
		}
		m.touch()
		m.Inject(from, to, data, h.TOS)
		if m.Chance(0.3) {
			m.run(m.upTo(time.Second))
		}
	}
}

// hold is somebody on the way who keeps what s and o say to each other, and
// lets it go up to four minutes later: what was sealed under a key that is now
// too old must not come (§6.2).
func (m *week) hold(s, o *site) {
	m.note("what %v and %v say is held back", s, o)
	m.burst(s, o)
	from := len(m.Eve.Heard)
	m.Cut(s.Host, o.Host)
	m.burst(s, o)
	held := slices.Clone(m.Eve.Heard[from:])
	m.Heal()
	m.run(m.upTo(4 * time.Minute))
	m.touch()
	for _, h := range held {
		if h.Host == s.Host || h.Host == o.Host {
			m.Inject(h.From, h.To, h.Data, h.TOS)
			m.run(m.upTo(100 * time.Millisecond))
		}
	}
}
