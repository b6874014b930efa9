package wg

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// timers.c, wg_expired_retransmit_handshake; §6.4: every 5 s and up to 333 ms,
// for 90 s; then silence, until a packet asks again.
func TestHandshakesAreRetriedFor90SecondsThenByPackets(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.Deaf(true)
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
	b.Deaf(false)
	w.run(time.Second)
	w.mustGet(b, toB(60))
}

// §6.4 with a program waiting: the very first initiation, and no other, is sent
// again, the same bytes, so that one lost datagram does not cost five seconds.
func TestTheFirstInitiationIsSentAgainUnchanged(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.Deaf(true)
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

// Copies go out before the first session of all, and never after: a peer that
// was there once is not what a program waits for to begin.
func TestAPeerThatWasMetGetsNoCopies(t *testing.T) {
	w, a, b := newPair(t, 7)
	w.run(10 * time.Minute) // the session is gone
	b.Deaf(true)
	n := len(w.log)
	a.send(toB(60))
	w.run(4 * time.Second)
	if got := w.log[n:]; len(got) != 1 || got[0].kind != typeInitiation {
		t.Fatalf("want one initiation and no copy, got:%s", describe(got))
	}
}

func TestALostFirstInitiationCostsLittle(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.Deaf(true)
	w.run(100 * time.Millisecond)
	b.Deaf(false)
	w.run(100 * time.Millisecond)
	if a.count(SessionUp) != 1 {
		t.Fatal("no session 200 ms after the start")
	}
	if n := len(b.sent(typeResponse)); n != 1 {
		t.Fatalf("%d responses, want 1", n)
	}
}

// send.c, wg_packet_send_queued_handshake_initiation: a packet starts the count
// of attempts again, so that traffic never meets a tunnel that has given up.
func TestTrafficKeepsTheHandshakeGoing(t *testing.T) {
	w, a, b := newPair(t, 7)
	b.Deaf(true)
	for range 300 {
		a.send(toB(60))
		w.run(time.Second)
	}
	if a.count(HandshakeGaveUp) != 0 {
		t.Fatal("gave up although packets kept coming")
	}
	if n := len(a.sent(typeInitiation)); n < 55 {
		t.Fatalf("%d initiations in five minutes", n)
	}
}

// timers.c: giving up drops what was staged.
func TestGivingUpDropsWhatIsStaged(t *testing.T) {
	w, a, b := newPair(t, 7)
	a.send(toB(60))
	b.Deaf(true)
	w.run(3 * time.Minute)
	if n := len(a.peer().staged); n != 0 {
		t.Fatalf("%d packets are still staged", n)
	}
}

// §6.1: never more than one initiation in 5 s, whatever asks for it.
func TestNothingMakesInitiationsMoreFrequent(t *testing.T) {
	w, a, b := newPair(t, 8)
	for i := range 3000 {
		if i%7 == 0 {
			b.Deaf(i%14 == 0)
		}
		if i%11 == 0 {
			a.core.networkChanged(w.now, nil, a.out)
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

// send.c, wg_packet_send_handshake_response: a response counts as an initiation
// for the limit of one in 5 s.
func TestAResponderDoesNotInitiateRightAfterAResponse(t *testing.T) {
	w, a, b := newPair(t, 7)
	w.run(15 * time.Millisecond) // b has responded
	a.Deaf(true)
	b.send(toA(60))
	w.run(4900 * time.Millisecond)
	if n := len(b.sent(typeInitiation)); n != 0 {
		t.Fatalf("%d initiations within 5 s after a response", n)
	}
	w.run(200 * time.Millisecond)
	if n := len(b.sent(typeInitiation)); n != 1 {
		t.Fatalf("%d initiations after 5 s, want the one that had to wait", n)
	}
}

// timers.c, wg_expired_retransmit_handshake: "clear the endpoint address src".
func TestARetryForgetsTheSourceAddress(t *testing.T) {
	w, a, b := newPair(t, 7)
	w.run(200 * time.Second) // the session is too old
	b.Deaf(true)
	a.send(toB(60))
	w.run(time.Second)
	if !a.peer().path.Load().Local.IsValid() {
		t.Fatal("the source address went before the retry: the test is wrong")
	}
	w.run(5 * time.Second)
	if a.peer().path.Load().Local.IsValid() {
		t.Fatal("the source address is still kept after a retry")
	}
}

// §6.1 again: the answer for a name may come when keys have just been zeroed,
// and the handshake that was in flight with them.
func TestAnAnswerForANameDoesNotHurryAnInitiation(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	_, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{Host: "gate.example", Port: b.Addr().Port()}
	a.peers(ofB)
	answer := func() {
		for _, r := range a.ask {
			a.core.resolved(w.now, r, []netip.Addr{b.Addr().Addr()}, nil, a.out)
		}
		a.ask = nil
		a.deliver()
	}
	answer()
	w.run(18 * time.Second) // nobody answers: the name is asked for again
	if len(a.ask) != 1 {
		t.Fatalf("asked %d times: the test is wrong", len(a.ask))
	}
	a.core.forgetHandshake(a.peer()) // as when keys are zeroed
	if a.peer().timers.retransmit == 0 || a.peer().handshake != nil {
		t.Fatal("no handshake is under way: the test is wrong")
	}
	answer()
	w.run(time.Minute)
	w.Eve.SeesOneHandshakePer(t, rekeyTimeout)
}

// A response is as old as the key in it, for the peer. Whoever holds it back
// must not make us send under a key that the peer has thrown away.
func TestAResponseThatIsHeldBackIsRefused(t *testing.T) {
	w, a, b := newPair(t, 7)
	var held []byte
	w.tap = func(from, _ *node, d []byte) {
		if from == b && messageType(d) == typeResponse {
			held = bytes.Clone(d)
		}
	}
	a.Deaf(true)
	w.run(3 * time.Minute) // a gives up; what it began last is still there
	a.Deaf(false)
	if a.count(HandshakeGaveUp) != 1 || held == nil || a.peer().handshake == nil {
		t.Fatal("nothing is in flight: the test is wrong")
	}
	drops := a.core.drops.noSession.Load()
	w.fly(b.Addr(), a.Addr(), held, 0)
	w.run(time.Second)
	if a.count(SessionUp) != 0 || a.core.drops.noSession.Load() != drops+1 {
		t.Fatal("a response was taken 90 s after its initiation")
	}
}

// §6.1: until the next initiation goes out the one before may be answered, so
// for as long as the jitter makes it.
func TestAResponseMayComeUntilTheNextInitiation(t *testing.T) {
	for seed := range uint64(20) {
		w, a, _ := newPair(t, seed)
		w.Weather.Delay = 2510 * time.Millisecond // each way
		w.run(time.Millisecond)
		if jitter := a.peer().timers.jitter; jitter < 30*time.Millisecond {
			continue
		}
		w.run(2*w.Weather.Delay - time.Millisecond + 10*time.Millisecond)
		if a.count(SessionUp) != 1 {
			t.Fatalf("seed %d: a response after %v was refused", seed, 2*w.Weather.Delay)
		}
		return
	}
	t.Fatal("no seed has a jitter of 30 ms: the test proves nothing")
}
