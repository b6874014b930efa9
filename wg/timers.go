package wg

import "time"

// timers are a peer's deadlines (§6; timers.c, whose names for events the
// methods bear). They are only stamps: the data path moves them once per
// batch, and whoever advances time looks which of them have come. A deadline
// of 0 is off. The peer's mu must be held.
type timers struct {
	begin        Instant // an initiation is wanted, as soon as the rate allows it
	retransmit   Instant // no response yet: the next initiation
	keepalive    Instant // data came in and nothing went out since
	newHandshake Instant // data went out and nothing came in since
	persistent   Instant // nothing at all went out or came in since
	expire       Instant // the current session gets too old to be used
	zeroKeys     Instant // no session was derived for so long that keys are forgotten
	resolve      Instant // the endpoint's name did not resolve: ask again
	resend       Instant // the first initiation of all may be lost: a copy of it

	needAnother bool          // data came in while keepalive was armed
	lastMinute  bool          // the current session was renewed by receiving
	attempts    int           // retransmissions since a packet last asked for a session
	failures    int           // initiations since a session was last derived
	copies      int           // of the initiation in flight, sent so far
	lastSent    Instant       // when an initiation or a response went out
	interval    time.Duration // of persistent; 0: off
	jitter      time.Duration // of this handshake; drawn seldom, so that the data path draws nothing
}

// next returns the earliest deadline, 0 if there is none.
func (t *timers) next() (at Instant) {
	for _, d := range [...]Instant{t.begin, t.retransmit, t.keepalive, t.newHandshake,
		t.persistent, t.expire, t.zeroKeys, t.resolve, t.resend} {
		if d != 0 && (at == 0 || d < at) {
			at = d
		}
	}
	return at
}

// passed reports whether the deadline has come, and turns it off if so.
func passed(d *Instant, now Instant) bool {
	if *d == 0 || *d > now {
		return false
	}
	*d = 0
	return true
}

// wantHandshake asks for a new session. "Under no circumstances will WireGuard
// send an initiation message more than once every Rekey-Timeout" (§6.1), and a
// response counts too (send.c): what comes too early waits. One that is under
// way goes on for another rekeyAttemptTime (§6.4).
func (t *timers) wantHandshake(now Instant) {
	t.attempts = 0
	if t.retransmit == 0 && t.begin == 0 {
		t.beginAllowed(now)
	}
}

// beginAllowed sets begin to when the rate allows it.
func (t *timers) beginAllowed(now Instant) {
	t.begin = now
	if t.lastSent != 0 && t.lastSent.since(now) < rekeyTimeout {
		t.begin = now.after(rekeyTimeout - t.lastSent.since(now))
	}
}

// dataSent: if no answer comes, the session is doubted (§6.5).
func (t *timers) dataSent(now Instant) {
	if t.newHandshake == 0 {
		t.newHandshake = now.after(keepaliveTimeout + rekeyTimeout + t.jitter)
	}
}

// dataReceived: if no answer goes out for ten seconds, a keepalive does
// (§6.5). A keepalive is no data, or two idle peers would never fall silent.
func (t *timers) dataReceived(now Instant) {
	if t.keepalive == 0 {
		t.keepalive = now.after(keepaliveTimeout)
	} else {
		t.needAnother = true
	}
}

// authenticatedSent: whatever it was, it shows that we live.
func (t *timers) authenticatedSent(now Instant) {
	t.keepalive = 0
	t.authenticatedTraversal(now)
}

// authenticatedReceived: whatever it was, it shows that the peer lives.
func (t *timers) authenticatedReceived(now Instant) {
	t.newHandshake = 0
	t.authenticatedTraversal(now)
}

func (t *timers) authenticatedTraversal(now Instant) {
	if t.interval > 0 {
		t.persistent = now.after(t.interval)
	}
}

// handshakeInitiated: the response has five seconds and a little, so that two
// peers do not go on meeting half-way (§6.1, §6.4).
func (t *timers) handshakeInitiated(now Instant, jitter time.Duration) {
	t.begin = 0
	t.jitter = jitter
	t.retransmit = now.after(rekeyTimeout + jitter)
}

// handshakeComplete: both sides have the keys and each knows it of the other.
func (t *timers) handshakeComplete() {
	t.begin, t.retransmit, t.resolve, t.resend = 0, 0, 0, 0
	t.attempts, t.failures = 0, 0
	t.lastMinute = false
}

// sessionDerived: keys exist that must not exist for ever (§6.3).
func (t *timers) sessionDerived(now Instant) { t.zeroKeys = now.after(zeroKeysAfter) }

// copyAfter is when copies of the first initiation of all are sent: a program is
// waiting for it, and Rekey-Timeout is long. This goes beyond the letter of
// §6.1, but not beyond what any responder sees anyway: it is the same message,
// byte for byte, as if the network had doubled it. A responder drops the copy
// of what it has accepted as a replay, at the cost of two products, and takes
// the copy of what was lost, or was refused because it came within 20 ms
// (wireguard-go: 50 ms) of an initiation of the run before. A cookie ends it
// (§6.6), and so does the first retry.
var copyAfter = [...]time.Duration{150 * time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second}

// nextCopy sets when the initiation sent at sent is sent once more.
func (t *timers) nextCopy(sent Instant) {
	t.resend = 0
	if t.copies < len(copyAfter) {
		t.resend = sent.after(copyAfter[t.copies])
		t.copies++
	}
}

// stop turns every deadline off.
func (t *timers) stop() {
	*t = timers{interval: t.interval, lastSent: t.lastSent}
}
