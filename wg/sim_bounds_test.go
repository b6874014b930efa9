package wg

import (
	"fmt"
	"net/netip"
	"time"

	"adit/packet"
)

// How long two peers may be unable to talk although the network is good, a
// packet a second goes each way, and one of them knows where the other is.
const (
	// The session that one side has may be unknown to the other, which was
	// started anew: it takes Keepalive-Timeout + Rekey-Timeout + jitter of
	// packets without answer until it is doubted (§6.5; timers.c,
	// wg_timers_data_sent).
	untilDoubted = keepaliveTimeout + rekeyTimeout + rekeyTimeoutJitter
	// An initiation may have to wait for Rekey-Timeout after the last (§6.1;
	// send.c), and one that was lost is tried again after it and a jitter.
	untilAgain = rekeyTimeout + rekeyTimeoutJitter
	// Where the peer was last seen nobody is any more: other addresses are
	// tried when three initiations had no answer; a name has to be asked for.
	untilElsewhere = failuresBeforeResolve*untilAgain + 3*time.Second

	talkWithin = untilDoubted + untilAgain + time.Second // packets go once a second
)

// know reports how s could reach o now: whether the way that it would use is
// right, and whether one that it would come to is.
func (s *site) know(o *site) (now, later bool) {
	p := s.core.roster.Load().byKey[o.key.Public()]
	if p == nil || s.conf[o] == nil || s.lockedOut(o) {
		return false, false
	}
	from := s.Addr()
	if s.behind != nil {
		from = netip.AddrPortFrom(s.behind.Outside, 1)
	}
	reaches := func(a netip.AddrPort) bool { return s.m.At(a, from) == o.Host }
	if way := p.path.Load(); way != nil && reaches(way.Remote) {
		return true, true
	}
	if p.endpoint.Host == "" {
		return false, false
	}
	return false, p.endpoint.Port == o.Addr().Port() && o.behind == nil &&
		(!p.endpoint.isLiteral() || reaches(p.candidates[0]))
}

// agrees reports whether s and o are peers of each other, with one preshared
// key, and each knows the other's present key.
func (s *site) agrees(o *site) bool {
	mine, yours := s.conf[o], o.conf[s]
	return mine != nil && yours != nil && mine.PresharedKey.b == yours.PresharedKey.b &&
		mine.PublicKey == o.key.Public() && yours.PublicKey == s.key.Public()
}

// lockedOut reports whether o takes initiations of s for replays: s was started
// without its last timestamp, and its clock was set back (§5.1).
func (s *site) lockedOut(o *site) bool {
	p := o.core.roster.Load().byKey[s.key.Public()]
	return s.careless && p != nil && !newTimestamp(s.core.wall(s.m.now), s.core.lastStamp).later(p.accepted)
}

// talk fails unless s and o, peers of each other, can talk within the time that
// the protocol allows, now that the network is good. It reports whether they
// had to.
func (m *week) talk(s, o *site) bool {
	if !s.agrees(o) {
		return false
	}
	sNow, sLater := s.know(o)
	oNow, oLater := o.know(s)
	within := talkWithin + 6*m.Weather.Delay
	if !sNow && !oNow {
		within += untilElsewhere
	}
	for _, x := range []*site{s, o} {
		if m.now < x.core.load.until { // a cookie for each, used the next time (§5.4.7)
			within += untilAgain
		}
	}
	if !sLater && !oLater || m.cookiesFail(s, o) || m.cookiesFail(o, s) {
		m.count.excused++
		return false
	}
	m.count.talks++
	m.note("%v and %v have to talk within %v", s, o, within)
	var there, back []*parcel
	came := func(list []*parcel) bool {
		for _, p := range list {
			if p.came {
				return true
			}
		}
		return false
	}
	for end := m.now.after(within); !came(there) || !came(back); m.run(time.Second) {
		if m.now > end {
			m.Fatalf("%v and %v cannot talk after %v of good weather: there %v, back %v\n%v\n%v",
				s, o, within, came(there), came(back), s.describe(o), o.describe(s))
		}
		there, back = append(there, s.write(o)), append(back, o.write(s))
	}
	return true
}

// calm fails if anybody still sends, or wants to be woken, or keeps keys, ten
// minutes and more after the last packet (§6.3: 3 × Reject-After-Time).
func (m *week) calm() {
	if m.clumsy || m.quiet == 0 || m.age() < 20*time.Minute {
		return
	}
	// 15 s until doubted, 90 s of attempts (§6.4), 10 s for a keepalive: twice,
	// for what one side does may make the other begin.
	if still := m.quiet.since(m.now); still > 5*time.Minute {
		m.count.silences++
		for _, s := range m.sites {
			m.Eve.HearsSilenceFrom(m, s.Host, time.Duration(m.quiet.after(5*time.Minute)))
			if still > 20*time.Minute && !s.Asleep() && (s.deadline() != 0 || len(s.core.index.m) != 0) {
				m.Fatalf("%v is not calm after %v: %d indices%s", s, still, len(s.core.index.m), s.thoughts())
			}
		}
	}
}

// cookiesFail reports whether o asks s for cookies that s can never show: a
// cookie is for an address and a port (§5.4.7), and a NAT gives s another port
// before it may try again (§6.6).
func (m *week) cookiesFail(s, o *site) bool {
	return m.now < o.core.load.until && s.behind != nil && s.behind.Timeout != 0 && s.behind.Timeout < untilAgain
}

// deadline returns the earliest deadline of any peer, 0 if there is none. The
// agenda may still have an entry for one that is no more.
func (s *site) deadline() (at Instant) {
	for _, p := range s.core.roster.Load().list {
		if next := p.timers.next(); next != 0 && (at == 0 || next < at) {
			at = next
		}
	}
	return at
}

// idle lets d pass with nobody sending.
func (m *week) idle(d time.Duration) {
	if m.quiet == 0 {
		m.quiet = m.now
	}
	m.run(d)
	m.calm()
}

// thoughts is what s thinks of everybody.
func (s *site) thoughts() (all string) {
	for _, o := range s.m.sites {
		if s.conf[o] != nil {
			all += "\n" + s.describe(o)
		}
	}
	return all
}

// describe says what s thinks of o.
func (s *site) describe(o *site) string {
	p := s.core.roster.Load().byKey[o.key.Public()]
	if p == nil {
		return fmt.Sprintf("%v has no peer %v", s, o)
	}
	in := func(at Instant) string {
		if at == 0 {
			return "-"
		}
		return time.Duration(at - s.m.now).String()
	}
	keys := ""
	for _, k := range []*session{p.current.Load(), p.previous, p.upcoming} {
		if k == nil {
			keys += " -"
			continue
		}
		keys += fmt.Sprintf(" %08x→%08x of %v", k.local, k.remote, k.created.since(s.m.now))
	}
	t := &p.timers
	var way packet.Path
	if w := p.path.Load(); w != nil {
		way = *w
	}
	return fmt.Sprintf("%v (at %v) of %v: way %v, candidates %v, sessions%s; begin %v, retransmit %v, doubt %v, last sent %v, failures %d, handshake %v, load %v, %+v",
		s, s.Addr(), o, way.Remote, p.candidates, keys, in(t.begin), in(t.retransmit), in(t.newHandshake), in(t.lastSent),
		t.failures, p.handshake != nil, in(s.core.load.until), *t)
}
