package wg

import (
	"testing"
	"time"

	"adit/packet"
)

// §6.2: Rekey-After-Time, Reject-After-Time: hours of traffic do not stop.
func TestTrafficGoesOnAcrossRekeys(t *testing.T) {
	w, a, b := newPair(t, 2)
	for range 3600 {
		a.send(toB(80))
		b.send(toA(80))
		w.run(time.Second)
	}
	w.run(time.Second)
	if len(b.got) != 3600 {
		t.Fatalf("b got %d packets of 3600", len(b.got))
	}
	if len(a.got) < 3599 { // b cannot send before it knows where a is
		t.Fatalf("a got %d packets of 3600", len(a.got))
	}
	if n := len(a.sent(typeInitiation)); n < 29 || n > 31 {
		t.Fatalf("a sent %d initiations in an hour, want one every 120 s", n)
	}
	if n := len(b.sent(typeInitiation)); n != 0 {
		t.Fatalf("b, the responder, sent %d initiations, want none: only the initiator renews by time", n)
	}
}

// §6.2, last paragraph; receive.c, keep_key_fresh: an initiator that receives
// renews the session 15 s before it cannot answer in it, and asks once.
func TestKeepFreshReceivingAsksOnceAfter165Seconds(t *testing.T) {
	s := &session{created: simStart, initiator: true}
	for _, c := range []struct {
		age       time.Duration
		initiator bool
		want      bool
	}{{164 * time.Second, true, false}, {165 * time.Second, true, true}, {165 * time.Second, false, false}} {
		p := &peer{}
		s.initiator = c.initiator
		p.current.Store(s)
		p.keepFreshReceiving(simStart.after(c.age))
		if got := p.timers.begin != 0; got != c.want {
			t.Errorf("age %v, initiator %v: handshake wanted is %v, want %v", c.age, c.initiator, got, c.want)
		}
		p.timers.begin = 0
		p.keepFreshReceiving(simStart.after(c.age))
		if p.timers.begin != 0 {
			t.Errorf("age %v: asked twice for one session", c.age)
		}
	}
}

// The same, from outside: what comes late in a session's life renews it at once,
// not only when the keepalive that answers it goes out.
func TestALatePacketRenewsTheSession(t *testing.T) {
	w, a, b := newPair(t, 3)
	w.run(166 * time.Second)
	n := len(a.sent(typeInitiation))
	b.send(toA(60))
	w.run(time.Second)
	if got := len(a.sent(typeInitiation)) - n; got != 1 {
		t.Fatalf("%d initiations, want 1", got)
	}
}

// §6.2: Reject-After-Time. Nothing is sent or accepted under a key of 180 s.
func TestKeysOlderThan180SecondsAreNotUsed(t *testing.T) {
	w, a, b := newPair(t, 3)
	w.run(time.Second)
	old := a.peer().current.Load()
	oldB := b.peer().current.Load()
	b.Deaf(true)
	a.Deaf(true)
	w.run(178500 * time.Millisecond)
	if !old.sendable(w.now) {
		t.Fatal("the session is rejected before its 180 s are over")
	}
	w.run(600 * time.Millisecond)
	before := len(a.sent(typeData))
	a.send(toB(100))
	if len(a.sent(typeData)) != before {
		t.Fatal("a packet left under a key older than 180 s")
	}
	// A packet sealed with the old key all the same, as a bad peer might.
	batch := packet.NewBatch(Room(1420))
	copy(batch.Append(100), toB(100))
	old.seal(batch.Slab(), batch.Offset(0), 100, 112, 77)
	b.Deaf(false)
	w.run(time.Second) // and past the age for b, which got its keys later
	batch.SetPacket(0, batch.Offset(0)-headerLen, 144)
	w.fly(a.Addr(), b.Addr(), batch.Packet(0), 0)
	b.got = nil
	if oldB.fresh(w.now) {
		t.Fatal("b's session is still fresh: the test is wrong")
	}
	b.Deaf(false)
	drops := b.core.drops.noSession.Load()
	w.run(15 * time.Millisecond)
	if len(b.got) != 0 || b.core.drops.noSession.Load() == drops {
		t.Fatal("a packet was accepted under a key older than 180 s")
	}
}

// §6.3: after 3 × 180 s without a new session, keys are wiped.
func TestKeysAreZeroedAfter540Seconds(t *testing.T) {
	w, a, b := newPair(t, 3)
	w.run(time.Second)
	s := a.peer().current.Load()
	b.Deaf(true)
	w.run(538 * time.Second)
	if a.peer().current.Load() != s {
		t.Fatal("the session went before its 540 s were over")
	}
	w.run(3 * time.Second)
	if a.peer().current.Load() != nil || s.refs.Load() != 0 {
		t.Fatal("the session is still there after 540 s")
	}
	if wiped := s.send.IsZero() && s.recv.IsZero(); !wiped {
		t.Fatal("the session's keys are still in memory")
	}
	if len(a.core.index.m) != 0 {
		t.Fatalf("%d indices are still taken", len(a.core.index.m))
	}
	if next := a.core.next(); next != 0 {
		t.Fatalf("an idle engine still wants to be woken, in %v", time.Duration(next-w.now))
	}
}

// §6.3 wipes what is old. A handshake that has just begun is not, and would
// otherwise have to begin again, five seconds later.
func TestZeroingKeysSparesAHandshakeThatHasJustBegun(t *testing.T) {
	w, a, b := newPair(t, 3)
	w.run(time.Second)
	w.runUntil(a.peer().timers.zeroKeys - Instant(w.Weather.Delay))
	old := a.peer().current.Load()
	a.send(toB(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	if old.refs.Load() != 0 {
		t.Fatal("the old session is still there after 540 s")
	}

	b.Deaf(true)
	w.runUntil(a.peer().timers.zeroKeys - 1)
	a.send(toB(60))
	for range 200 { // and wherever the handshake stands, it ends with what it made
		w.run(time.Second)
	}
	w.run(600 * time.Second)
	if len(a.core.index.m) != 0 || a.core.next() != 0 {
		t.Fatalf("%d indices, next %v", len(a.core.index.m), a.core.next())
	}
}

// Idle costs nothing: with no traffic and no keepalive there is no deadline.
func TestAnIdleTunnelFallsSilent(t *testing.T) {
	w, a, b := newPair(t, 4)
	a.send(toB(100))
	w.run(time.Second)
	b.send(toA(100))
	w.run(30 * time.Second)
	n := len(w.log)
	w.run(24 * time.Hour)
	if len(w.log) != n {
		t.Fatalf("an idle tunnel sent:%s", describe(w.log[n:]))
	}
	if a.core.next() != 0 || b.core.next() != 0 {
		t.Fatal("an idle tunnel has a deadline")
	}
}

// §6.5: data that gets no answer for ten seconds is answered by a keepalive,
// and a keepalive never is.
func TestDataIsAnsweredByOneKeepalive(t *testing.T) {
	w, a, b := newPair(t, 4)
	w.run(time.Second)
	n := len(w.log)
	a.send(toB(100))
	sent := w.now
	w.run(60 * time.Second)
	log := w.log[n:]
	if len(log) != 2 || log[1].from != b.Addr() || log[1].size != minDataLen {
		t.Fatalf("want the packet and one keepalive, got:%s", describe(log))
	}
	if d := time.Duration(log[1].at - sent); d != keepaliveTimeout+w.Weather.Delay {
		t.Fatalf("the keepalive came after %v, want 10 s after the packet arrived", d)
	}
}

// timers.c, timers_any_authenticated_packet_sent: an answer is as good.
func TestAnAnswerTakesTheKeepalivesPlace(t *testing.T) {
	w, a, b := newPair(t, 4)
	w.run(time.Second)
	n := len(w.log)
	a.send(toB(100))
	w.run(5 * time.Second)
	b.send(toA(100))
	w.run(time.Minute)
	log := w.log[n:]
	if len(log) != 3 || log[2].from != a.Addr() {
		t.Fatalf("want two packets and a's keepalive, got:%s", describe(log))
	}
}

// timers.c, need_another_keepalive: data that comes while one keepalive is due
// gets another.
func TestDataDuringAPendingKeepaliveGetsAnother(t *testing.T) {
	w, a, b := newPair(t, 4)
	w.run(time.Second)
	n := len(b.sent(typeData))
	a.send(toB(100))
	w.run(5 * time.Second)
	a.send(toB(100))
	w.run(60 * time.Second)
	got := b.sent(typeData)[n:]
	if len(got) != 2 || time.Duration(got[1].at-got[0].at) != keepaliveTimeout {
		t.Fatalf("want two keepalives, ten seconds apart, got:%s", describe(got))
	}
}

// §6.5; timers.c, timers_data_sent: no answer to data for 15 s and the session
// is made anew; not by everybody at the same moment.
func TestSilenceAfterDataStartsAHandshake(t *testing.T) {
	jitters := make(map[time.Duration]bool)
	for seed := range uint64(8) {
		w, a, b := newPair(t, seed)
		w.run(10 * time.Second)
		b.Deaf(true)
		a.send(toB(100))
		sent := w.now
		n := len(a.sent(typeInitiation))
		w.run(16 * time.Second)
		inits := a.sent(typeInitiation)[n:]
		if len(inits) != 1 {
			t.Fatalf("want one initiation, got:%s", describe(inits))
		}
		const want = keepaliveTimeout + rekeyTimeout
		d := time.Duration(inits[0].at - sent)
		if d < want || d >= want+rekeyTimeoutJitter {
			t.Fatalf("the initiation came after %v, want %v and less than %v more", d, want, rekeyTimeoutJitter)
		}
		jitters[d] = true
	}
	if len(jitters) < 4 {
		t.Fatalf("only %d different delays: where is the jitter?", len(jitters))
	}
}

// §6.5: the persistent keepalive, counted from whatever authentic went last.
func TestPersistentKeepalive(t *testing.T) {
	w, a, _ := newPair(t, 6, func(_, b *Peer) { b.Keepalive = 25 * time.Second })
	w.run(time.Second)
	n := len(a.sent(typeData)) // the last was the confirming keepalive, at 20 ms
	w.run(100 * time.Second)
	got := a.sent(typeData)[n:]
	if len(got) != 4 {
		t.Fatalf("want four keepalives in 100 s, got:%s", describe(got))
	}
	for i, s := range got {
		if want := simStart.after(20*time.Millisecond + time.Duration(i+1)*25*time.Second); s.at != want {
			t.Fatalf("keepalive %d came %v late", i, time.Duration(s.at-want))
		}
	}
	a.send(toB(60))
	w.run(24 * time.Second)
	if more := a.sent(typeData)[n+5:]; len(more) != 0 {
		t.Fatalf("a keepalive came although data had gone:%s", describe(more))
	}
}

// timers.c, any_authenticated_packet_traversal: what comes in counts as well.
func TestPersistentKeepalivesAreCountedFromWhatCameToo(t *testing.T) {
	w, a, b := newPair(t, 6, func(_, b *Peer) { b.Keepalive = 25 * time.Second })
	w.run(20 * time.Second)
	n := len(a.sent(typeData))
	p := b.peer()
	p.mu.Lock()
	b.core.keepalive(w.now, p, b.out)
	p.mu.Unlock()
	b.deliver()
	heard := w.now.after(w.Weather.Delay)
	w.run(40 * time.Second)
	got := a.sent(typeData)[n:]
	if len(got) != 1 || got[0].at != heard.after(25*time.Second) {
		t.Fatalf("want one keepalive 25 s after that of the peer, got:%s", describe(got))
	}
}

// timers.c, wg_expired_send_persistent_keepalive: a peer that is to be kept
// alive is never given up for good.
func TestAPersistentKeepaliveStartsAgainAfterGivingUp(t *testing.T) {
	w, a, b := newPair(t, 6, func(_, b *Peer) { b.Keepalive = 40 * time.Second })
	b.Deaf(true)
	w.run(time.Hour)
	if a.count(HandshakeGaveUp) < 10 {
		t.Fatalf("gave up %d times in an hour: the test is wrong", a.count(HandshakeGaveUp))
	}
	b.Deaf(false)
	w.run(46 * time.Second)
	if a.count(SessionUp) != 1 {
		t.Fatal("the peer is back and nobody noticed")
	}
}

// §6.2; send.c, wg_packet_create_data_done: keepalives, too, keep a session fresh.
func TestKeepalivesRenewTheSession(t *testing.T) {
	w, a, b := newPair(t, 6, func(_, b *Peer) { b.Keepalive = 25 * time.Second })
	for range 60 {
		w.run(time.Minute)
		if !a.peer().current.Load().sendable(w.now) || !b.peer().current.Load().sendable(w.now) {
			t.Fatalf("there was no session after %v", time.Duration(w.now-simStart))
		}
	}
	inits := a.sent(typeInitiation)
	if n := len(inits); n < 28 || n > 30 {
		t.Fatalf("%d initiations in an hour, want one every 125 s", n)
	}
}

// §6.2: a message count, too, ends a session's youth, for either role.
func TestRekeyAfterMessages(t *testing.T) {
	w, a, b := newPair(t, 7)
	w.run(10 * time.Second)
	for n, pkt := range map[*node][]byte{a: toB(60), b: toA(60)} {
		n.peer().current.Load().sent.Store(rekeyAfterMessages)
		before := len(n.sent(typeInitiation))
		n.send(pkt)
		w.run(time.Second)
		if len(n.sent(typeInitiation)) != before+1 {
			t.Fatal("no initiation after more than 2^60 messages")
		}
		w.run(10 * time.Second)
	}
}

// §6.2: at Reject-After-Messages packets wait for the next session.
func TestRejectAfterMessages(t *testing.T) {
	w, a, b := newPair(t, 7)
	w.run(10 * time.Second)
	old := a.peer().current.Load()
	old.sent.Store(rejectAfterMessages - 1)
	a.send(toB(60), toB(61)) // there is one counter, and two packets
	if old.sent.Load() > rejectAfterMessages {
		t.Fatalf("the counter is beyond the limit: %d", old.sent.Load())
	}
	w.run(time.Second)
	w.mustGet(b, toB(60), toB(61))
	if a.count(SessionUp) != 2 {
		t.Fatal("the packets did not wait for a new session")
	}
}

// The machine sleeps: time goes on, nothing fires. On waking nothing old is
// used, in either direction, and the first packet brings a new session.
func TestNothingOldIsUsedAfterASleep(t *testing.T) {
	for _, asleep := range []time.Duration{170 * time.Second, 200 * time.Second, time.Hour} {
		w, a, b := newPair(t, 3)
		w.run(time.Second)
		old := a.peer().current.Load()
		w.now = w.now.after(asleep)
		before := old.sent.Load()
		a.core.networkChanged(w.now, nil, a.out) // as the shell does when it notices
		a.send(toB(60))
		if used := old.sent.Load() - before; used != 0 && asleep > rejectAfterTime {
			t.Errorf("asleep for %v: the old session was used", asleep)
		}
		w.run(time.Second)
		if len(b.got) != 1 || a.peer().current.Load() == old {
			t.Errorf("asleep for %v: %d packets came, in a new session: %v", asleep, len(b.got), a.peer().current.Load() != old)
		}
	}
}
