package wg

import (
	"net/netip"
	"testing"
	"time"
)

// underLoad makes n's core believe that it has been busy for as long as the
// state lasts.
func (n *node) underLoad() { n.core.load.until = n.w.now.after(time.Hour) }

// §5.3, §5.4.7: under load the first initiation gets a cookie, the next one
// carries mac2 and is answered. Nothing is sent at once because of a cookie.
func TestUnderLoadACookieIsAskedFor(t *testing.T) {
	w, a, b := newPair(t, 1)
	b.underLoad()
	w.run(4 * time.Second)
	if len(w.log) != 2 || w.log[1].kind != typeCookie || w.log[1].size >= w.log[0].size {
		t.Fatalf("want an initiation and a cookie that is smaller, got:%s", describe(w.log))
	}
	w.run(2 * time.Second)
	if a.count(SessionUp) != 1 {
		t.Fatalf("the initiation with mac2 was not answered:%s", describe(w.log))
	}
	if n := len(a.sent(typeInitiation)); n != 2 {
		t.Fatalf("it took %d initiations, want 2", n)
	}
}

// A response, too, may have to prove where it comes from (receive.c checks
// both kinds); its sender keeps the cookie for its next message.
func TestUnderLoadAResponseGetsACookie(t *testing.T) {
	w, a, b := newPair(t, 1)
	a.underLoad()
	w.run(4 * time.Second)
	if n := len(a.sent(typeCookie)); n != 1 {
		t.Fatalf("%d cookies were sent, want 1", n)
	}
	w.run(4 * time.Second)
	if a.count(SessionUp) != 1 || b.count(SessionUp) != 1 {
		t.Fatalf("no session after the response with mac2:%s", describe(w.log))
	}
}

// §5.4.7: the cookie is for an address and a port.
func TestCookiesAreForOneAddressAndPort(t *testing.T) {
	_, a, _ := newPair(t, 1)
	var s cookieSecret
	cookie := func(at string) mac { return s.cookie(simStart, netip.MustParseAddrPort(at), a.core.random) }
	first := cookie("192.0.2.1:1")
	if cookie("192.0.2.1:1") != first || cookie("[::ffff:192.0.2.1]:1") != first {
		t.Error("the same place got two cookies")
	}
	if cookie("192.0.2.1:2") == first || cookie("192.0.2.2:1") == first {
		t.Error("two places got one cookie")
	}
}

// §5.4.7: a new secret every two minutes.
func TestCookieSecretsLiveTwoMinutes(t *testing.T) {
	_, a, _ := newPair(t, 1)
	var s cookieSecret
	at := netip.MustParseAddrPort("192.0.2.1:1")
	first := s.cookie(simStart, at, a.core.random)
	if s.cookie(simStart.after(cookieSecretLifetime-1), at, a.core.random) != first {
		t.Error("the secret changed before its time")
	}
	if s.cookie(simStart.after(cookieSecretLifetime), at, a.core.random) == first {
		t.Error("the secret is older than two minutes")
	}
}

// device/cookie.go of wireguard-go, cookie.c: a cookie is used until five
// seconds before its maker forgets it.
func TestReceivedCookiesAreUsedFor115Seconds(t *testing.T) {
	_, a, b := newPair(t, 1)
	var j cookieJar
	msg := make([]byte, initiationLen)
	j.addMACs(simStart, msg, b.core.self.Load().public)
	reply := make([]byte, cookieLen)
	cookie := mac{1, 2, 3}
	b.core.self.Load().makeCookieReply(reply, msg, cookie, a.core.random)
	if !j.open(simStart, reply, b.core.self.Load().public) {
		t.Fatal("the cookie was not understood")
	}
	if j.open(simStart, reply, b.core.self.Load().public) {
		t.Error("the same reply was taken twice")
	}
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {115*time.Second - 1, true}, {115 * time.Second, false}} {
		j.addMACs(simStart.after(c.after), msg, b.core.self.Load().public)
		if got := checkMAC2(msg, cookie); got != c.want {
			t.Errorf("after %v: mac2 is there: %v, want %v", c.after, got, c.want)
		}
	}
}

func TestForgedCookiesAreIgnored(t *testing.T) {
	_, a, b := newPair(t, 1)
	var j cookieJar
	msg := make([]byte, initiationLen)
	reply := make([]byte, cookieLen)
	if j.open(simStart, reply, b.core.self.Load().public) {
		t.Fatal("a cookie was taken although nothing was sent")
	}
	j.addMACs(simStart, msg, b.core.self.Load().public)
	other := make([]byte, initiationLen)
	other[initiationMAC1] = 1 // a cookie for another message
	b.core.self.Load().makeCookieReply(reply, other, mac{}, a.core.random)
	if j.open(simStart, reply, b.core.self.Load().public) {
		t.Error("a cookie for another message was taken")
	}
	b.core.self.Load().makeCookieReply(reply, msg, mac{}, a.core.random)
	for i := cookieNonce; i < cookieLen; i++ {
		reply[i] ^= 1
		if j.open(simStart, reply, b.core.self.Load().public) {
			t.Errorf("a cookie with byte %d changed was taken", i)
		}
		reply[i] ^= 1
	}
	if !j.open(simStart, reply, b.core.self.Load().public) {
		t.Error("after the forgeries the true cookie was not taken")
	}
}

// A cookie reply proves nothing about where a peer is.
func TestCookieRepliesDoNotMoveAPeer(t *testing.T) {
	w, a, b := newPair(t, 1)
	b.underLoad()
	w.tap = func(from, _ *node, d []byte) {
		if messageType(d) == typeCookie && from == b {
			w.fly(netip.MustParseAddrPort("203.0.113.9:9"), a.Addr(), d, 0)
		}
	}
	w.Weather.Delay = 0
	w.run(time.Second)
	if got := a.peer().path.Load().Remote; got != b.Addr() {
		t.Fatalf("the peer is now at %v", got)
	}
}

// ratelimiter.c, selftest/ratelimiter.c: five at once, twenty a second, by
// address, for IPv6 by /64.
func TestHandshakesOfOneSourceAreLimited(t *testing.T) {
	var s sourceLimiter
	a4, b4 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	a6, near, far := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1"), netip.MustParseAddr("2001:db8:0:1::1")
	take := func(now Instant, a netip.Addr) (n int) {
		for s.allow(now, a) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		name string
		at   time.Duration
		from netip.Addr
		want int
	}{
		{"the burst", 0, a4, 5}, {"another address", 0, b4, 5},
		{"one more token", 50 * time.Millisecond, a4, 1}, {"four more", 250 * time.Millisecond, a4, 4},
		{"no more than the burst", time.Hour, a4, 5},
		{"IPv6", time.Hour, a6, 5}, {"the same /64", time.Hour, near, 0}, {"another /64", time.Hour, far, 5},
	} {
		if got := take(simStart.after(c.at), c.from); got != c.want {
			t.Errorf("%s: %d allowed, want %d", c.name, got, c.want)
		}
	}
}

// receive.c: a right mac2 is not enough, there is a limit for each source too.
func TestUnderLoadASourceGetsFiveHandshakesAtOnce(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	w.Weather.Delay = 0
	b.underLoad()
	from := netip.MustParseAddrPort("203.0.113.1:1")
	cookie := b.core.secret.cookie(w.now, from, b.core.random)
	for i := range 20 {
		h := initiation{index: uint32(i)}
		stranger := newIdentity(fixedKey(byte(i)))
		p := &peer{key: b.core.self.Load().public}
		if err := stranger.makeInitiation(&h, p, timestamp{1}, a.core.random); err != nil {
			t.Fatal(err)
		}
		p.jar.cookie, p.jar.expires = cookie, w.now.after(time.Minute)
		p.jar.addMACs(w.now, h.msg[:], p.key)
		w.fly(from, b.Addr(), h.msg[:], 0)
	}
	w.run(time.Millisecond)
	if got := b.core.drops.noPeer.Load(); got != sourceBurst {
		t.Fatalf("%d initiations were worked on, want %d", got, sourceBurst)
	}
	if n := len(b.sent(typeCookie)); n != 0 {
		t.Fatalf("%d cookies for messages that carry one", n)
	}
}

func TestTheTableOfSourcesIsBounded(t *testing.T) {
	var s sourceLimiter
	for i := range 3 * maxSources {
		s.allow(simStart, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(s.full) > maxSources {
		t.Fatalf("%d sources are remembered, want at most %d", len(s.full), maxSources)
	}
	if !s.allow(simStart.after(time.Second), netip.MustParseAddr("192.0.2.1")) {
		t.Fatal("sources that have long been quiet still take the places")
	}
}

// receive.c: under load for a second after too many handshakes; a few hundred
// peers at once are not too many.
func TestLoadIsEnteredAndLeft(t *testing.T) {
	var l loadMeter
	for i := range handshakeBurst {
		if l.add(simStart) {
			t.Fatalf("under load after %d handshakes", i)
		}
	}
	if !l.add(simStart) {
		t.Fatal("not under load after more than the burst")
	}
	if !l.add(simStart.after(999 * time.Millisecond)) {
		t.Fatal("the state did not last a second")
	}
	if l.add(simStart.after(time.Second)) {
		t.Fatal("the state lasted longer than a second")
	}
	now := simStart.after(time.Minute)
	for range 5000 { // a steady 900 a second is no load
		now = now.after(time.Second / 900)
		if l.add(now) {
			t.Fatal("under load at 900 handshakes a second")
		}
	}
}

func TestWrongMAC1IsMetWithSilence(t *testing.T) {
	w, a, b := newPair(t, 2)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	b.Deaf(true)
	w.run(time.Second)
	b.Deaf(false)
	b.underLoad()
	n := len(w.log)
	for i := range initiationMAC1 + macLen {
		forged := append([]byte(nil), init...)
		forged[i] ^= 0x80
		w.fly(a.Addr(), b.Addr(), forged, 0)
	}
	w.run(100 * time.Millisecond)
	if len(w.log) != n {
		t.Fatalf("a wrong mac1 was answered:%s", describe(w.log[n:]))
	}
}
