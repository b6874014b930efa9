package wg

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

func toB(size int) []byte { return wgtest.UDP(insideA, insideB, size, []byte("to b")) }
func toA(size int) []byte { return wgtest.UDP(insideB, insideA, size, []byte("to a")) }

// §5, figure: initiation, response, and the initiator speaks first.
func TestAHandshakeTakesOneRoundTrip(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	if len(w.log) != 3 || w.log[0].kind != typeInitiation || w.log[1].kind != typeResponse || w.log[2].kind != typeData {
		t.Fatalf("want initiation, response, keepalive, got:%s", describe(w.log))
	}
	if w.log[2].size != minDataLen {
		t.Fatalf("the confirming keepalive has %d bytes, want %d", w.log[2].size, minDataLen)
	}
	if a.peer().rtt != 2*w.delay {
		t.Fatalf("the round trip took %v, want %v", a.peer().rtt, 2*w.delay)
	}
	for _, n := range []*node{a, b} {
		if n.count(SessionUp) != 1 {
			t.Fatalf("%d sessions are up, want 1", n.count(SessionUp))
		}
	}
}

// device.c, wg_xmit; receive.c, "handshake complete": what waited goes out at
// once and takes the keepalive's place.
func TestStagedPacketsLeaveWithTheSession(t *testing.T) {
	w, a, b := newPair(t, 1)
	a.send(toB(60), toB(61))
	a.send(toB(1420))
	w.run(time.Second)
	w.mustGet(b, toB(60), toB(61), toB(1420))
	if data := a.sent(typeData); len(data) != 3 {
		t.Fatalf("want three data messages and no keepalive, got:%s", describe(data))
	}
}

// messages.h, MAX_STAGED_PACKETS; device.c: the oldest go first.
func TestTheOldestStagedPacketsAreDropped(t *testing.T) {
	w, a, b := newPair(t, 1)
	b.deaf = true
	for i := range maxStaged + 10 {
		a.send(toB(100 + i))
	}
	w.run(time.Second)
	b.deaf = false
	w.run(7 * time.Second)
	if len(b.got) != maxStaged || len(b.got[0]) != 110 {
		t.Fatalf("%d packets came, the first of %d bytes; want %d, of 110", len(b.got), len(b.got[0]), maxStaged)
	}
	if d := a.core.drops.staged.Load(); d != 10 {
		t.Fatalf("%d packets counted as dropped, want 10", d)
	}
}

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
		p.keepFreshReceiving(simStart.after(c.age), s)
		if got := p.timers.begin != 0; got != c.want {
			t.Errorf("age %v, initiator %v: handshake wanted is %v, want %v", c.age, c.initiator, got, c.want)
		}
		p.timers.begin = 0
		p.keepFreshReceiving(simStart.after(c.age), s)
		if p.timers.begin != 0 {
			t.Errorf("age %v: asked twice for one session", c.age)
		}
	}
}

// §6.2: Reject-After-Time. Nothing is sent or accepted under a key of 180 s.
func TestKeysOlderThan180SecondsAreNotUsed(t *testing.T) {
	w, a, b := newPair(t, 3)
	w.run(time.Second)
	old := a.peer().current.Load()
	oldB := b.peer().current.Load()
	b.deaf, a.deaf = true, true
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
	b.deaf = false
	w.run(time.Second) // and past the age for b, which got its keys later
	batch.SetPacket(0, batch.Offset(0)-headerLen, 144)
	w.fly(a.addr, b.addr, batch.Packet(0), 0)
	b.got = nil
	if oldB.fresh(w.now) {
		t.Fatal("b's session is still fresh: the test is wrong")
	}
	b.deaf = false
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
	b.deaf = true
	w.run(538 * time.Second)
	if a.peer().current.Load() != s {
		t.Fatal("the session went before its 540 s were over")
	}
	w.run(3 * time.Second)
	if a.peer().current.Load() != nil || s.refs.Load() != 0 {
		t.Fatal("the session is still there after 540 s")
	}
	if wiped := isWiped(t, s.send) && isWiped(t, s.recv); !wiped {
		t.Fatal("the session's keys are still in memory")
	}
	if len(a.core.index.m) != 0 {
		t.Fatalf("%d indices are still taken", len(a.core.index.m))
	}
	if next := a.core.next(); next != 0 {
		t.Fatalf("an idle engine still wants to be woken, in %v", time.Duration(next-w.now))
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
	if len(log) != 2 || log[1].from != b.addr || log[1].size != minDataLen {
		t.Fatalf("want the packet and one keepalive, got:%s", describe(log))
	}
	if d := time.Duration(log[1].at - sent); d != keepaliveTimeout+w.delay {
		t.Fatalf("the keepalive came after %v, want 10 s after the packet arrived", d)
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
// is made anew.
func TestSilenceAfterDataStartsAHandshake(t *testing.T) {
	w, a, b := newPair(t, 5)
	w.run(10 * time.Second)
	b.deaf = true
	a.send(toB(100))
	sent := w.now
	n := len(a.sent(typeInitiation))
	w.run(16 * time.Second)
	inits := a.sent(typeInitiation)[n:]
	if len(inits) != 1 {
		t.Fatalf("want one initiation, got:%s", describe(inits))
	}
	const want = keepaliveTimeout + rekeyTimeout
	if d := time.Duration(inits[0].at - sent); d < want || d >= want+rekeyTimeoutJitter {
		t.Fatalf("the initiation came after %v, want %v and less than %v more", d, want, rekeyTimeoutJitter)
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

// timers.c, wg_expired_retransmit_handshake; §6.4: every 5 s and up to 333 ms,
// for 90 s; then silence, until a packet asks again.
func TestHandshakesAreRetriedFor90SecondsThenByPackets(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.deaf = true
	w.run(10 * time.Minute)
	inits := a.sent(typeInitiation)
	if len(inits) != 20 {
		t.Fatalf("%d initiations were sent, want 20", len(inits))
	}
	var jitters = map[time.Duration]bool{}
	for i := 1; i < len(inits); i++ {
		d := time.Duration(inits[i].at - inits[i-1].at)
		if d < rekeyTimeout || d >= rekeyTimeout+rekeyTimeoutJitter {
			t.Fatalf("initiation %d came %v after the one before, want 5 s and up to 333 ms", i, d)
		}
		jitters[d] = true
	}
	if len(jitters) < 10 {
		t.Fatalf("only %d different intervals: where is the jitter?", len(jitters))
	}
	if a.count(HandshakeGaveUp) != 1 {
		t.Fatalf("gave up %d times, want once", a.count(HandshakeGaveUp))
	}
	a.send(toB(60))
	b.deaf = false
	w.run(time.Second)
	w.mustGet(b, toB(60))
}

// §6.4 with a program waiting: the very first initiation, and no other, is sent
// again, the same bytes, so that one lost datagram does not cost five seconds.
func TestTheFirstInitiationIsSentAgainUnchanged(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.deaf = true
	w.run(20 * time.Second)
	var at []time.Duration
	for _, l := range w.log {
		if l.copy {
			at = append(at, time.Duration(l.at-simStart))
		}
	}
	if !slices.Equal(at, copyAfter[:]) {
		t.Fatalf("copies after %v, want %v", at, copyAfter)
	}
	if n := len(a.sent(typeInitiation)); n != 4 {
		t.Fatalf("%d initiations in 20 s, want 4", n)
	}
}

func TestALostFirstInitiationCostsLittle(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.deaf = true
	w.run(100 * time.Millisecond)
	b.deaf = false
	w.run(100 * time.Millisecond)
	if a.count(SessionUp) != 1 {
		t.Fatal("no session 200 ms after the start")
	}
	if n := len(b.sent(typeResponse)); n != 1 {
		t.Fatalf("%d responses, want 1", n)
	}
}

// timers.c: giving up drops what was staged.
func TestGivingUpDropsWhatIsStaged(t *testing.T) {
	w, a, b := newPair(t, 7)
	a.send(toB(60))
	b.deaf = true
	w.run(3 * time.Minute)
	if n := len(a.peer().staged); n != 0 {
		t.Fatalf("%d packets are still staged", n)
	}
}

// §6.4: never more than one initiation in 5 s, whatever asks for it.
func TestNothingMakesInitiationsMoreFrequent(t *testing.T) {
	w, a, b := newPair(t, 8)
	for i := range 3000 {
		if i%7 == 0 {
			b.deaf = !b.deaf
		}
		if i%11 == 0 {
			a.core.networkChanged(w.now, a.out)
			a.deliver()
		}
		a.send(toB(60))
		w.run(100 * time.Millisecond)
	}
	inits := a.sent(typeInitiation)
	for i := 1; i < len(inits); i++ {
		if d := time.Duration(inits[i].at - inits[i-1].at); d < rekeyTimeout {
			t.Fatalf("two initiations within %v", d)
		}
	}
}

// Both start at the same moment: the state of the initiator and that of the
// responder are apart, so neither waits for a timeout.
func TestSimultaneousInitiationsDoNotStall(t *testing.T) {
	w := newWorld(t, 9)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofA.Endpoint = endpointAt(a.addr)
	a.peers(ofB)
	b.peers(ofA)
	a.send(toB(60))
	b.send(toA(60))
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
	w.mustGet(a, toA(60))
	for range 1000 { // and the two sessions do not get into each other's way
		a.send(toB(60))
		b.send(toA(60))
		w.run(time.Second)
	}
	if len(a.got) != 1000 || len(b.got) != 1000 {
		t.Fatalf("%d and %d packets of 1000 came out", len(a.got), len(b.got))
	}
}

// §5.4.4, key confirmation: the responder does not send before it has heard.
func TestTheResponderWaitsForConfirmation(t *testing.T) {
	w, a, b := newPair(t, 10)
	w.run(15 * time.Millisecond) // the initiation has arrived, the response is under way
	if b.peer().upcoming == nil || b.peer().current.Load() != nil {
		t.Fatal("the responder's session is not waiting")
	}
	b.send(toA(60))
	if n := len(b.sent(typeData)); n != 0 {
		t.Fatalf("the responder sent %d data messages before the initiator's first", n)
	}
	a.deaf = false
	w.run(time.Second)
	w.mustGet(a, toA(60))
}

// §6.5: roaming by every authentic message; the other end follows at once.
func TestPeersRoam(t *testing.T) {
	w, a, b := newPair(t, 11)
	w.run(time.Second)
	elsewhere := netip.MustParseAddrPort("[2001:db8::5]:77")
	a.move(elsewhere)
	a.send(toB(60))
	w.run(time.Second)
	b.send(toA(60))
	w.run(time.Second)
	w.mustGet(a, toA(60))
	if got := b.peer().path.Load().Remote; got != elsewhere {
		t.Fatalf("b sends to %v, want %v", got, elsewhere)
	}
	if b.count(EndpointChanged) != 2 { // where a first was, and where it is now
		t.Fatalf("%d changes were told, want 2", b.count(EndpointChanged))
	}
}

func TestForgedDatagramsDoNotMoveAPeer(t *testing.T) {
	w, a, b := newPair(t, 11)
	var seen [][]byte
	w.tap = func(from, _ *node, d []byte) {
		if from == a {
			seen = append(seen, append([]byte(nil), d...))
		}
	}
	w.run(time.Second)
	a.send(toB(60))
	w.run(time.Second)
	for _, d := range seen {
		w.fly(netip.MustParseAddrPort("203.0.113.9:9"), b.addr, d, 0) // replayed
		d[len(d)-1] ^= 1
		w.fly(netip.MustParseAddrPort("203.0.113.9:9"), b.addr, d, 0) // and forged
	}
	n := len(w.log)
	w.run(time.Second)
	if got := b.peer().path.Load().Remote; got != a.addr {
		t.Fatalf("b now sends to %v", got)
	}
	if len(w.log) != n {
		t.Fatalf("forgeries were answered:%s", describe(w.log[n:]))
	}
}

// A peer that restarted knows nothing; the first packet to it shows that.
func TestARestartedPeerIsFoundAgain(t *testing.T) {
	w, a, b := newPair(t, 12)
	a.send(toB(60))
	w.run(30 * time.Second)
	ofA, _ := w.pairConfig(a, b)
	b.restart()
	b.peers(ofA)
	b.got = nil
	for range 30 {
		a.send(toB(61))
		w.run(time.Second)
	}
	if len(b.got) < 10 {
		t.Fatalf("after the peer's restart %d packets of 30 came through", len(b.got))
	}
}

func TestAClockSetBackIsNotAReplay(t *testing.T) {
	w, a, b := newPair(t, 13)
	a.skew = 365 * 24 * time.Hour
	w.run(time.Second)
	last := a.core.lastStamp
	a.restart()
	a.skew = 0 // the clock was wrong, and now is right
	a.core.lastStamp = last
	_, ofB := w.pairConfig(a, b)
	a.peers(ofB)
	w.run(time.Second)
	if a.count(SessionUp) != 2 {
		t.Fatal("an initiation after the clock was set back was not accepted")
	}
}

// §5.1; noise.c: a replayed initiation is not answered.
func TestReplayedInitiationsAreNotAnswered(t *testing.T) {
	w, a, b := newPair(t, 14)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	w.run(time.Second)
	for range 3 {
		w.fly(a.addr, b.addr, init, 0)
		w.run(time.Second)
	}
	if n := len(b.sent(typeResponse)); n != 1 {
		t.Fatalf("%d responses were sent, want 1", n)
	}
}

// noise.c, INITIATIONS_PER_SECOND: at most one initiation of a peer in 20 ms.
func TestInitiationsOfOnePeerAreLimited(t *testing.T) {
	w, a, b := newPair(t, 14)
	w.delay = 0
	w.run(time.Second)
	var h initiation
	for i := range 40 { // one every 5 ms for 200 ms
		h = initiation{index: uint32(i)}
		ts := newTimestamp(time.Unix(2e9+int64(i), 0), timestamp{})
		if err := a.core.makeInitiation(&h, a.peer(), ts, a.core.random); err != nil {
			t.Fatal(err)
		}
		a.peer().jar.addMACs(w.now, h.msg[:], a.peer().key)
		w.fly(a.addr, b.addr, h.msg[:], 0)
		w.run(5 * time.Millisecond)
	}
	if n := len(b.sent(typeResponse)) - 1; n != 10 {
		t.Fatalf("%d of 40 initiations in 200 ms were answered, want 10", n)
	}
}

// §2: a peer speaks only for its own addresses, by the longest prefix.
func TestPacketsFromForeignSourcesAreDropped(t *testing.T) {
	w, a, b := newPair(t, 15, func(_, b *Peer) { b.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} })
	foreign := netip.MustParseAddrPort("10.9.9.9:1")
	a.send(wgtest.UDP(foreign, insideB, 60, nil))
	w.run(time.Second)
	w.mustGet(b)
	if n := b.core.drops.sourceDenied.Load(); n != 1 {
		t.Fatalf("%d packets counted, want 1", n)
	}
	if b.peer().rx == 0 {
		t.Fatal("the packet was authentic and has to count as received")
	}
}

// receive.c; whitepaper §5.4.6: padding is cut by the inner length, and a
// length that lies is no packet. The IPv6 length must not wrap in 16 bits.
func TestInnerLengths(t *testing.T) {
	v4 := func(total, size int) []byte {
		b := make([]byte, size)
		b[0], b[2], b[3] = 0x45, byte(total>>8), byte(total)
		return b
	}
	v6 := func(payload, size int) []byte {
		b := make([]byte, size)
		b[0], b[4], b[5] = 0x60, byte(payload>>8), byte(payload)
		return b
	}
	for _, c := range []struct {
		name string
		pkt  []byte
		want int
	}{
		{"IPv4 exact", v4(40, 40), 40},
		{"IPv4 padded", v4(33, 48), 33},
		{"IPv4 longer than what came", v4(49, 48), 0},
		{"IPv4 shorter than a header", v4(19, 48), 0},
		{"IPv4 cut", v4(20, 19), 0},
		{"IPv6 exact", v6(8, 48), 48},
		{"IPv6 padded", v6(1, 48), 41},
		{"IPv6 longer than what came", v6(9, 48), 0},
		{"IPv6 that wraps in 16 bits", v6(65535, 48), 0},
		{"IPv6 that wraps to zero", v6(65496, 48), 0},
		{"IPv6 cut", v6(0, 39), 0},
		{"neither", make([]byte, 64), 0},
	} {
		if got := innerLength(c.pkt); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// §5.4.6: the plain text is padded to 16 bytes, but not beyond the MTU.
func TestDataMessagesArePadded(t *testing.T) {
	w, a, _ := newPair(t, 16)
	w.run(time.Second)
	for _, c := range []struct{ packet, message int }{
		{28, 32 + 32}, {32, 32 + 32}, {33, 32 + 48}, {1408, 32 + 1408}, {1409, 32 + 1420}, {1420, 32 + 1420},
	} {
		a.send(toB(c.packet))
		if got := w.log[len(w.log)-1].size; got != c.message {
			t.Errorf("a packet of %d bytes went as a message of %d, want %d", c.packet, got, c.message)
		}
	}
}

// Packets of one size lie in the slab as datagrams without a gap, so that they
// leave with one system call (packet.Room).
func TestEqualPacketsAreSealedContiguously(t *testing.T) {
	w, a, _ := newPair(t, 16)
	w.run(time.Second)
	b := packet.NewBatch(Room(1420))
	for range 40 {
		copy(b.Append(1420), toB(1420))
	}
	a.core.seal(w.now, b, nil)
	for i := range 40 {
		if len(b.Packet(i)) != 1452 || b.Offset(i) != i*1452 {
			t.Fatalf("datagram %d lies at %d with %d bytes, want %d and 1452", i, b.Offset(i), len(b.Packet(i)), i*1452)
		}
	}
}

// noise.c: a private key that belongs to a peer of ours is ourselves.
func TestOurselvesAreNotAPeer(t *testing.T) {
	w := newWorld(t, 17)
	a := w.add(outsideA)
	a.peers(Peer{PublicKey: a.key.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)})
	w.run(time.Minute)
	if len(w.log) != 0 || len(a.core.roster.Load().byKey) != 0 {
		t.Fatal("we are our own peer")
	}
}

func TestAChangedPresharedKeyIsForTheNextHandshake(t *testing.T) {
	w, a, b := newPair(t, 18)
	w.run(10 * time.Second)
	psk := NewPresharedKey()
	ofA, ofB := w.pairConfig(a, b)
	ofA.PresharedKey, ofB.PresharedKey = psk, psk
	n := len(w.log)
	a.peers(ofB)
	b.peers(ofA)
	a.send(toB(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	if len(w.log) != n+1 {
		t.Fatalf("the session did not survive:%s", describe(w.log[n:]))
	}
	for range 150 {
		a.send(toB(60))
		w.run(time.Second)
	}
	if a.count(SessionUp) != 2 || len(b.got) != 150 {
		t.Fatalf("%d sessions and %d packets, want 2 and 150", a.count(SessionUp), len(b.got))
	}
}

func TestADifferentPresharedKeyMakesNoSession(t *testing.T) {
	w, a, b := newPair(t, 18, func(x, _ *Peer) { x.PresharedKey = NewPresharedKey() })
	a.send(toB(60))
	w.run(time.Minute)
	w.mustGet(b)
	if a.count(SessionUp)+b.count(SessionUp) != 0 {
		t.Fatal("a session came up although the preshared keys differ")
	}
}

// Seeds of trouble: whatever the network does, these hold.
func TestTwoEnginesOnABadNetwork(t *testing.T) {
	seeds := 24
	if testing.Short() {
		seeds = 6
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { badNetwork(t, seed) })
	}
}

func badNetwork(t *testing.T, seed uint64) {
	w, a, b := newPair(t, seed, func(x, _ *Peer) {
		if seed%2 == 0 {
			x.Endpoint = endpointAt(outsideA)
		}
	})
	w.lose, w.duplicate = float64(seed%4)*0.1, float64(seed%3)*0.1
	w.spread = time.Duration(seed%5) * 30 * time.Millisecond
	counters := map[string]bool{}
	w.tap = func(from, _ *node, d []byte) {
		if messageType(d) != typeData {
			return
		}
		// A nonce must never be used twice under one key (receiver index and counter).
		key := fmt.Sprintf("%v %x", from == a, d[4:16])
		if counters[key] {
			t.Fatalf("nonce used twice: %s", key)
		}
		counters[key] = true
	}
	unique := uint16(0)
	seen := map[uint16]bool{}
	for range 2000 {
		switch r := w.rng.IntN(100); {
		case r < 40:
			a.send(numbered(insideA, insideB, &unique))
		case r < 80:
			b.send(numbered(insideB, insideA, &unique))
		case r < 82 && seed%2 == 1:
			a.move(netip.AddrPortFrom(outsideA.Addr(), uint16(2000+w.rng.IntN(60000))))
		case r == 83:
			a.core.networkChanged(w.now, a.out)
			a.deliver()
		}
		w.run(time.Duration(w.rng.Int64N(int64(time.Second))))
	}
	for _, n := range []*node{a, b} {
		for _, pkt := range n.got {
			id := uint16(pkt[28])<<8 | uint16(pkt[29])
			if seen[id] {
				t.Fatalf("packet %d came out twice", id)
			}
			seen[id] = true
		}
		if len(n.peer().staged) > maxStaged {
			t.Fatalf("%d packets are staged", len(n.peer().staged))
		}
		if len(n.core.index.m) > 4 {
			t.Fatalf("%d indices are taken: something leaks", len(n.core.index.m))
		}
		inits := n.sent(typeInitiation)
		for i := 1; i < len(inits); i++ {
			if d := time.Duration(inits[i].at - inits[i-1].at); d < rekeyTimeout && d > 0 {
				t.Fatalf("two initiations within %v", d)
			}
		}
	}
	if want := int(float64(unique) * (1 - w.lose) * 0.9); len(seen) < want {
		t.Fatalf("%d of %d packets came through, want at least %d", len(seen), unique, want)
	}
	w.lose = 0
	w.run(20 * time.Minute)
	if a.core.next() != 0 || b.core.next() != 0 {
		t.Fatal("the tunnel does not fall silent")
	}
}

func numbered(from, to netip.AddrPort, n *uint16) []byte {
	*n++
	return wgtest.UDP(from, to, 60, []byte{byte(*n >> 8), byte(*n)})
}
