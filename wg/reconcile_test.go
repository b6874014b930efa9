package wg

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

func TestBadPeersAreRefusedAndChangeNothing(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	good := Peer{PublicKey: b.key.Public(), Endpoint: endpointAt(b.Addr())}
	for want, bad := range map[string]Peer{
		"no port":   {PublicKey: NewPrivateKey().Public(), Endpoint: Endpoint{Host: "192.0.2.1"}},
		"keepalive": {PublicKey: NewPrivateKey().Public(), Keepalive: 65536 * time.Second},
		"not valid": {PublicKey: NewPrivateKey().Public(), AllowedIPs: []netip.Prefix{{}}},
		"twice":     good,
	} {
		err := a.core.setPeers(w.now, []Peer{good, bad}, true, a.out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	a.send(toB(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
}

func TestUnchangedPeersKeepTheirSessions(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(10 * time.Second)
	c := w.add(netip.MustParseAddrPort("192.0.2.3:3"))
	ofA, ofB := w.pairConfig(a, b)
	inside := netip.MustParseAddrPort("10.0.0.3:1")
	ofC := Peer{PublicKey: c.key.Public(), AllowedIPs: allowed(inside), Endpoint: endpointAt(c.Addr())}
	c.peers(ofA)
	n := len(b.sent(typeResponse))
	a.peers(ofB, ofC)
	a.send(toB(60), wgtest.UDP(insideA, inside, 60, nil))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	w.mustGet(c, wgtest.UDP(insideA, inside, 60, nil))
	if len(b.sent(typeResponse)) != n {
		t.Fatal("the unchanged peer had to shake hands")
	}
}

func TestARemovedPeerIsForgotten(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(10 * time.Second)
	s := a.peer().current.Load()
	a.peers()
	if s.refs.Load() != 0 || len(a.core.index.m) != 0 || a.core.next() != 0 {
		t.Fatal("something of the peer is left")
	}
	n := len(w.log)
	a.send(toB(60))
	b.send(toA(60))
	w.run(10 * time.Second)
	if len(a.got) != 0 || len(a.sent(typeData)) > 1 || len(w.log) > n+2 {
		t.Fatalf("the removed peer is still spoken to:%s", describe(w.log[n:]))
	}
}

func TestPrefixesMoveBetweenPeers(t *testing.T) {
	w, a, b := newPair(t, 1)
	c := w.add(netip.MustParseAddrPort("192.0.2.3:3"))
	ofA, ofB := w.pairConfig(a, b)
	c.peers(ofA)
	ofC := Peer{PublicKey: c.key.Public(), AllowedIPs: ofB.AllowedIPs, Endpoint: endpointAt(c.Addr())}
	a.peers(ofB, ofC)
	a.send(toB(60))
	w.run(time.Second)
	w.mustGet(b)
	w.mustGet(c, toB(60))
}

// §2; allowedips.c: a prefix has one owner. Who lost it is not believed any
// more, from the very next packet on and in the session that there is.
func TestAPeerThatLostAPrefixIsNotBelieved(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	ofA, ofB := w.pairConfig(a, b)
	b.peers(ofA)
	b.send(toA(60))
	w.run(time.Second)
	w.mustGet(a, toA(60))
	heir := Peer{PublicKey: fixedPublic(3), AllowedIPs: ofB.AllowedIPs}
	a.peers(ofB, heir)
	if a.peer(b).current.Load() == nil {
		t.Fatal("the session went with the prefix")
	}
	b.send(toA(61))
	w.run(time.Second)
	w.mustGet(a)
	if n := a.core.drops.sourceDenied.Load(); n != 1 {
		t.Fatalf("%d packets were refused for their source, want 1", n)
	}
	a.peers(heir, ofB) // and back: the later one has it
	b.send(toA(62))
	w.run(time.Second)
	w.mustGet(a, toA(62))
}

func TestEnablingThePersistentKeepaliveSendsOneAtOnce(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(10 * time.Second)
	_, ofB := w.pairConfig(a, b)
	ofB.Keepalive = 60 * time.Second
	n := len(a.sent(typeData))
	a.peers(ofB)
	if got := a.sent(typeData)[n:]; len(got) != 1 || got[0].size != minDataLen {
		t.Fatalf("want one keepalive, got:%s", describe(got))
	}
}

// The same initiation goes to every address of a name; whoever answers first
// is the peer's address, and only one session comes of it.
func TestAllAddressesOfAnEndpointAreRaced(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{Host: "gate.example", Port: b.Addr().Port()}
	b.peers(ofA)
	a.peers(ofB)
	a.send(toB(60))
	w.run(100 * time.Millisecond)
	if len(a.ask) != 1 || a.ask[0].host != "gate.example" {
		t.Fatalf("asked for %v, want the endpoint's name once", a.ask)
	}
	addrs := []netip.Addr{netip.MustParseAddr("2001:db8::dead"), netip.MustParseAddr("192.0.2.99"), b.Addr().Addr()}
	var inits []string
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			inits = append(inits, string(d))
		}
	}
	a.core.resolved(w.now, a.ask[0], addrs, nil, a.out)
	a.deliver()
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
	if len(inits) != 3 || inits[0] != inits[1] || inits[1] != inits[2] {
		t.Fatalf("want one initiation to three addresses, got %d", len(inits))
	}
	if got := a.peer().path.Load().Remote; got != b.Addr() {
		t.Fatalf("the peer is at %v, want the address that answered", got)
	}
}

// Once one address has answered the others are left alone: the next handshake
// goes where the peer is.
func TestAddressesAreNotRacedAgainWhileThePeerAnswers(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{Host: "gate.example", Port: b.Addr().Port()}
	b.peers(ofA)
	a.peers(ofB)
	w.run(100 * time.Millisecond)
	a.core.resolved(w.now, a.ask[0], []netip.Addr{netip.MustParseAddr("192.0.2.99"), b.Addr().Addr()}, nil, a.out)
	a.deliver()
	w.run(time.Second)
	n := len(w.log)
	for range 130 {
		a.send(toB(60))
		w.run(time.Second)
	}
	inits := slices.DeleteFunc(slices.Clone(w.log[n:]), func(s sighting) bool { return s.kind != typeInitiation })
	if len(inits) != 1 || inits[0].to != b.Addr() {
		t.Fatalf("want one initiation, to the address that answered, got:%s", describe(inits))
	}
}

// What is found out while an initiation is in flight gets it at once.
func TestLateAddressesGetTheInitiationInFlight(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{Host: "gate.example", Port: b.Addr().Port()}
	b.peers(ofA)
	a.peers(ofB)
	answer := func(addr string) {
		r := a.ask[len(a.ask)-1]
		a.core.resolved(w.now, r, []netip.Addr{netip.MustParseAddr(addr)}, nil, a.out)
		a.deliver()
	}
	w.run(time.Millisecond)
	answer("192.0.2.99") // nobody is there
	w.run(3500 * time.Millisecond)
	a.core.networkChanged(w.now, nil, a.out)
	a.deliver()
	answer(b.Addr().Addr().String())
	w.run(100 * time.Millisecond)
	if a.count(SessionUp) != 1 || len(a.sent(typeInitiation)) != 1 {
		t.Fatalf("no session from the initiation in flight:%s", describe(w.log))
	}
}

func TestANameThatDoesNotResolveYetIsAskedForAgain(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{Host: "gate.example", Port: b.Addr().Port()}
	b.peers(ofA)
	a.peers(ofB)
	for i := range 4 {
		if len(a.ask) != i+1 {
			t.Fatalf("asked %d times, want %d", len(a.ask), i+1)
		}
		a.core.resolved(w.now, a.ask[i], nil, errors.New("no such host"), a.out)
		a.deliver()
		w.run(resolveAgainAfter + time.Millisecond)
	}
	if a.count(ResolveFailed) != 4 {
		t.Fatalf("%d failures were told, want 4", a.count(ResolveFailed))
	}
	a.core.resolved(w.now, a.ask[4], []netip.Addr{b.Addr().Addr()}, nil, a.out)
	a.deliver()
	w.run(time.Second)
	if a.count(SessionUp) != 1 {
		t.Fatal("no session after the name resolved")
	}
}

// reresolve-dns.sh of wireguard-tools, in the engine: when nobody answers, the
// name may stand for another address by now.
func TestAPeerThatMovedIsResolvedAgain(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{Host: "gate.example", Port: b.Addr().Port()}
	b.peers(ofA)
	a.peers(ofB)
	answer := func() {
		for _, r := range a.ask {
			a.core.resolved(w.now, r, []netip.Addr{b.Addr().Addr()}, nil, a.out)
		}
		a.ask = nil
		a.deliver()
	}
	w.run(time.Millisecond)
	answer()
	w.run(time.Second)
	b.Move(netip.MustParseAddrPort("[2001:db8::7]:1002"))
	ofA, _ = w.pairConfig(a, b)
	b.restart()
	b.peers(ofA)
	start := w.now
	for b.count(SessionUp) < 2 && time.Duration(w.now-start) < time.Minute {
		a.send(toB(60))
		w.run(100 * time.Millisecond)
		answer()
	}
	if took := time.Duration(w.now - start); took > 40*time.Second {
		t.Fatalf("it took %v", took)
	}
	if slices.IndexFunc(a.events, func(e Event) bool { return e.Kind == Resolved && len(e.Addresses) == 1 && e.Addresses[0] == b.Addr() }) < 0 {
		t.Fatal("the new address was not told")
	}
}

// A peer that roamed and is no longer there may be where it was configured.
func TestTheConfiguredEndpointIsTriedAgain(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	b.Move(netip.MustParseAddrPort("198.51.100.9:9"))
	b.send(toA(60))
	w.run(time.Second)
	if got := a.peer().path.Load().Remote; got != b.Addr() {
		t.Fatalf("a did not follow its peer: it sends to %v", got)
	}
	b.Move(outsideB)
	ofA, _ := w.pairConfig(a, b)
	b.restart()
	b.peers(ofA)
	for range 45 {
		a.send(toB(60))
		w.run(time.Second)
	}
	if len(b.got) == 0 {
		t.Fatal("the peer was not found again")
	}
}

// socket.c: a cached source address is forgotten before each retry.
func TestRetriesForgetTheSourceAddress(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	if w := a.peer().path.Load(); !w.Local.IsValid() {
		t.Fatal("the source address of the session was not kept")
	}
	b.Deaf(true)
	a.send(toB(60))
	w.run(16 * time.Second)
	if w := a.peer().path.Load(); w.Local.IsValid() {
		t.Fatal("the source address is still kept after 15 s of silence")
	}
}

// netlink.c, wg_set_device: another port or mark, perhaps another way out.
func TestForgottenSourcesAreNotMissed(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	n := len(w.log)
	a.core.forgetSources(nil)
	if way := a.peer().path.Load(); way.Local.IsValid() || way.Remote != outsideB || len(w.log) != n {
		t.Fatalf("the way is %+v, want only the remote, and nothing sent", way)
	}
	a.send(toB(60))
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
}

// What a peer has sent before it knew comes the way that was left, and does not make us
// speak from there again: else a better way is never taken while there is traffic.
func TestASourceThatWasLeftIsNotTakenUpAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		news func(w *world, a *node, keeps func(*packet.Path) bool)
	}{
		{"routes changed", func(_ *world, a *node, keeps func(*packet.Path) bool) { a.core.forgetSources(keeps) }},
		{"network changed", func(w *world, a *node, keeps func(*packet.Path) bool) {
			a.core.networkChanged(w.now, keeps, a.out)
			a.deliver()
		}},
	} {
		t.Run(c.name, func(t *testing.T) { testLeaving(t, c.news) })
	}
}

func testLeaving(t *testing.T, news func(w *world, a *node, keeps func(*packet.Path) bool)) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	old := a.peer().path.Load()
	holds := false
	keeps := func(p *packet.Path) bool { return holds || *p != *old }
	hear := func(want *packet.Path) {
		t.Helper()
		b.send(toA(60))
		w.run(time.Second)
		w.mustGet(a, toA(60))
		if got := a.peer().path.Load(); !got.Equal(want) {
			t.Fatalf("the way is %+v, want %+v", got, want)
		}
	}
	free := &packet.Path{Remote: old.Remote}
	news(w, a, keeps)
	hear(free)
	news(w, a, keeps) // more of it
	hear(free)
	a.core.forgetSources(nil) // of another kind: the routes are the same
	hear(free)
	holds = true
	news(w, a, keeps)
	hear(old)
	// One that is held to is not forgotten, whatever the news.
	news(w, a, keeps)
	if got := a.peer().path.Load(); got != old && !got.Equal(old) {
		t.Fatalf("the way is %+v, want %+v still", got, old)
	}
}

// A packet may be on its way through a peer while that is removed: nothing of
// it may bring the peer back.
func TestARemovedPeerStaysOffTheAgenda(t *testing.T) {
	w, a, b := newPair(t, 1, func(_, ofB *Peer) { ofB.Keepalive = time.Hour })
	w.run(time.Second)
	msg := b.sealed(toA(60)).Packet(0)
	p := a.peer()
	var r run
	if !a.core.beginRun(w.now, &r, binary.LittleEndian.Uint32(msg[dataReceiver:])) {
		t.Fatal("there is no session: the test is wrong")
	}
	r.any, r.data, r.way = true, true, &packet.Path{Remote: netip.MustParseAddrPort("203.0.113.1:1")}
	a.peers()
	a.core.endRun(w.now, &r, a.out) // received

	p.timers.dataSent(w.now) // sent: sealRun
	p.touch(&a.core.agenda)
	if at := a.core.next(); at != 0 || len(a.out.events) != 0 {
		t.Fatalf("the removed peer is due in %v, with events %v", time.Duration(at-w.now), a.out.events)
	}
}

func TestASendErrorForgetsTheSourceAddress(t *testing.T) {
	w, a, _ := newPair(t, 1)
	w.run(time.Second)
	b := a.sealed(toB(60))
	a.core.sendFailed(b)
	if way := a.peer().path.Load(); way.Local.IsValid() || way.Remote != outsideB {
		t.Fatalf("the way is %+v, want only the remote", way)
	}
}

// The peer learns our new address at once, also when a handshake has to wait.
func TestNetworkChangesAreToldToThePeer(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	a.Move(netip.MustParseAddrPort("198.51.100.7:9"))
	a.core.networkChanged(w.now, nil, a.out)
	if way := a.peer().path.Load(); way.Local.IsValid() || way.Remote != outsideB {
		t.Fatalf("the way is %+v, want only the remote: our address is another", way)
	}
	a.deliver()
	w.run(100 * time.Millisecond)
	if got := b.peer().path.Load().Remote; got != a.Addr() {
		t.Fatalf("b still sends to %v", got)
	}
	if n := len(a.sent(typeInitiation)); n != 0 {
		t.Fatalf("%d initiations from the new address within 5 s of the first", n)
	}
}

// After a long sleep the network is often back later than the machine: the first
// initiation finds none, and the next is 5 s away (§6.1). The news that there is
// a network brings the same initiation again, byte for byte.
func TestAnInitiationThatFoundNoNetworkIsSentAgainWhenThereIsOne(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	w.run(10 * time.Minute) // asleep; no session is left
	changed := func() {
		a.core.networkChanged(w.now, nil, a.out)
		a.deliver()
	}
	w.Weather.Lose = 1
	changed()
	a.send(toB(60))
	w.run(1500 * time.Millisecond)
	w.mustGet(b)
	w.Weather.Lose = 0
	changed()
	w.run(2*w.Weather.Delay + 100*time.Millisecond)
	w.mustGet(b, toB(60))
	if n := len(a.sent(typeInitiation)); n != 2 {
		t.Fatalf("%d initiations, want that of the beginning and one after the sleep", n)
	}
	n := len(a.sent(typeInitiation))
	changed() // nothing is in flight now
	w.run(100 * time.Millisecond)
	if len(a.sent(typeInitiation)) != n {
		t.Fatal("an initiation within 5 s of another")
	}
}

// A machine that wakes is told of its network before its timers have run: by
// then nobody can answer what it began before it fell asleep.
func TestAnInitiationThatIsTooOldIsNotSentAgain(t *testing.T) {
	w, a, b := newPair(t, 1)
	b.Deaf(true)
	w.run(time.Second)
	n := len(w.log)
	w.now = w.now.after(10 * time.Minute)
	a.core.networkChanged(w.now, nil, a.out)
	a.deliver()
	if len(w.log) != n || a.peer().handshake == nil {
		t.Fatalf("want nothing before the timers have run, got:%s", describe(w.log[n:]))
	}
	w.run(time.Millisecond)
	if got := w.log[n:]; len(got) != 1 || got[0].kind != typeInitiation || got[0].copy {
		t.Fatalf("want another initiation, got:%s", describe(got))
	}
}

// §6.6: who was asked for a cookie waits for the next initiation, whatever else
// happens.
func TestAnInitiationThatACookieAnsweredIsNotSentAgain(t *testing.T) {
	w, a, b := newPair(t, 1)
	b.underLoad()
	w.run(time.Second)
	a.core.networkChanged(w.now, nil, a.out)
	a.deliver()
	w.run(time.Second)
	for i, s := range w.log {
		if s.copy {
			t.Fatalf("message %d is the initiation once more:%s", i, describe(w.log))
		}
	}
}

func TestNetworkChangesShakeHandsAtOnce(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(10 * time.Second)
	a.Move(netip.MustParseAddrPort("198.51.100.7:9"))
	a.core.networkChanged(w.now, nil, a.out)
	a.deliver()
	w.run(time.Second)
	if got := b.peer().path.Load().Remote; got != a.Addr() {
		t.Fatalf("b still sends to %v", got)
	}
	if a.count(SessionUp) != 2 {
		t.Fatal("no new session")
	}
}
