package wg

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

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
	if a.peer().rtt != 2*w.Weather.Delay {
		t.Fatalf("the round trip took %v, want %v", a.peer().rtt, 2*w.Weather.Delay)
	}
	for _, n := range []*node{a, b} {
		if n.count(SessionUp) != 1 {
			t.Fatalf("%d sessions are up, want 1", n.count(SessionUp))
		}
	}
}

// Both start at the same moment: the state of the initiator and that of the
// responder are apart, so neither waits for a timeout.
func TestSimultaneousInitiationsDoNotStall(t *testing.T) {
	w := newWorld(t, 9)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	ofA.Endpoint = endpointAt(a.Addr())
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

// §6.3, key confirmation: the responder does not send before it has heard.
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
	a.Deaf(false)
	w.run(time.Second)
	w.mustGet(a, toA(60))
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
		w.fly(a.Addr(), b.Addr(), init, 0)
		w.run(time.Second)
	}
	if n := len(b.sent(typeResponse)); n != 1 {
		t.Fatalf("%d responses were sent, want 1", n)
	}
}

// noise.c, latest_timestamp: what was accepted is remembered longer than any
// key that came of it.
func TestAReplayIsRecognisedAfterTheKeysAreGone(t *testing.T) {
	w, a, b := newPair(t, 14)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	w.run(time.Hour)
	if b.peer().current.Load() != nil || b.peer().upcoming != nil {
		t.Fatal("there are keys after an idle hour: the test is wrong")
	}
	n := len(w.log)
	w.fly(a.Addr(), b.Addr(), init, 0)
	w.run(time.Second)
	if len(w.log) != n || b.core.drops.replayed.Load() != 1 {
		t.Fatalf("the replay was answered:%s", describe(w.log[n:]))
	}
}

// The same when the peer was taken out and put back in meanwhile: a device that
// is down has no peers, and the kernel's remembers nevertheless.
func TestAReplayIsRecognisedByWhoPutsThePeerBack(t *testing.T) {
	w, a, b := newPair(t, 14)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	w.run(time.Second)
	ofA, _ := w.pairConfig(a, b)
	ofA.Accepted = b.peer().status(w.now, time.Now()).Accepted
	b.peers()
	b.peers(ofA)
	w.fly(a.Addr(), b.Addr(), init, 0)
	w.run(time.Second)
	if n := len(b.sent(typeResponse)); n != 1 || b.core.drops.replayed.Load() != 1 {
		t.Fatalf("%d responses were sent, want 1", n)
	}
}

// Another configuration of a peer that stays does not say what came from it
// before, and takes nothing back.
func TestAReplayIsRecognisedUnderAnotherConfiguration(t *testing.T) {
	w, a, b := newPair(t, 14)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	w.run(time.Second)
	ofA, _ := w.pairConfig(a, b)
	ofA.Keepalive = time.Minute
	b.peers(ofA)
	w.fly(a.Addr(), b.Addr(), init, 0)
	w.run(time.Second)
	if n := len(b.sent(typeResponse)); n != 1 || b.core.drops.replayed.Load() != 1 {
		t.Fatalf("%d responses were sent, want 1", n)
	}
}

// §5.1, "Silence is a virtue": no answer to what is not authentic, whoever
// sends it and whatever it looks like.
func TestNothingUnauthenticIsAnswered(t *testing.T) {
	w, a, b := newPair(t, 14)
	var init []byte
	w.tap = func(_, _ *node, d []byte) {
		if messageType(d) == typeInitiation {
			init = append([]byte(nil), d...)
		}
	}
	w.run(time.Minute) // and everything said that was to be said
	id := b.core.self.Load()
	withMAC1 := func(d []byte) []byte {
		m := keyedMAC(id.mac1Key[:], d[:mac1Offset(d)])
		copy(d[mac1Offset(d):], m[:])
		return d
	}
	message := func(kind uint32, size int) []byte {
		d := make([]byte, size)
		a.core.random(d)
		binary.LittleEndian.PutUint32(d, kind)
		return d
	}
	strangerKey := fixedKey(77)
	var h initiation
	p := &peer{key: id.public}
	if err := newIdentity(strangerKey).makeInitiation(&h, p, newTimestamp(time.Unix(2e9, 0), timestamp{}), a.core.random); err != nil {
		t.Fatal(err)
	}
	badStamp := append([]byte(nil), init...)
	badStamp[initiationTimestamp] ^= 1
	reserved := append([]byte(nil), init...)
	reserved[1] = 1
	live := message(typeData, 64)
	binary.LittleEndian.PutUint32(live[dataReceiver:], b.peer().current.Load().local)
	late := message(typeResponse, responseLen)
	binary.LittleEndian.PutUint32(late[responseReceiver:], b.peer().current.Load().local)
	n := len(w.log)
	sent := map[string][]byte{
		"a stranger who knows our key":           withMAC1(h.msg[:]),
		"a friend's name and a forged timestamp": withMAC1(badStamp),
		"an initiation with a reserved byte set": reserved,
		"an initiation that is too short":        init[:initiationLen-1],
		"an initiation that is too long":         append(append([]byte(nil), init...), 0),
		"a response to nothing":                  withMAC1(message(typeResponse, responseLen)),
		"a response to a session":                withMAC1(late),
		"a cookie for nothing":                   message(typeCookie, cookieLen),
		"data for nobody":                        message(typeData, 64),
		"data for a live session, forged":        live,
		"data that is too short":                 message(typeData, minDataLen-1),
		"a type that there is none of":           message(5, 148),
		"something of another protocol":          []byte("GET / HTTP/1.1\r\n\r\n--------------------"),
		"one byte":                               {1},
	}
	for _, d := range sent {
		w.fly(netip.MustParseAddrPort("203.0.113.6:6"), b.Addr(), d, 0)
	}
	w.run(time.Minute)
	for _, s := range w.log[n:] {
		if s.from == b.Addr() {
			t.Fatalf("something was answered:%s", describe(w.log[n:]))
		}
	}
	if got := b.peer().path.Load().Remote; got != a.Addr() {
		t.Fatalf("the peer is now at %v", got)
	}
}

// §5.4.3: a forged response does not end the handshake; the real one may be on
// its way.
func TestAForgedResponseDoesNotEndTheHandshake(t *testing.T) {
	w, a, b := newPair(t, 14)
	w.tap = func(from, to *node, d []byte) {
		if messageType(d) != typeResponse {
			return
		}
		forged := append([]byte(nil), d...)
		forged[responseEmpty] ^= 1
		m := keyedMAC(a.core.self.Load().mac1Key[:], forged[:responseMAC1])
		copy(forged[responseMAC1:], m[:])
		w.tap = nil
		to.Receive(time.Duration(w.now), wgtest.Datagram{From: b.Addr(), To: a.Addr(), Data: forged})
	}
	w.run(time.Second)
	if a.core.drops.badTag.Load() != 1 {
		t.Fatal("the forgery did not arrive first: the test is wrong")
	}
	if a.count(SessionUp) != 1 || len(a.sent(typeInitiation)) != 1 {
		t.Fatalf("no session from the first initiation:%s", describe(w.log))
	}
}

// §5.4.5: nothing that could bring the keys back outlives the handshake.
func TestAHandshakesSecretsAreForgotten(t *testing.T) {
	w, a, b := newPair(t, 14)
	w.run(5 * time.Millisecond)
	h := a.peer().handshake
	if h == nil || h.ephemeral == [32]byte{} {
		t.Fatal("there is no handshake in flight: the test is wrong")
	}
	w.run(time.Second)
	if *h != (initiation{}) || a.peer().handshake != nil {
		t.Fatal("the initiator's state is still there")
	}
	b.Deaf(true)
	w.run(5 * time.Minute)
	a.send(toB(60))
	w.run(time.Second)
	h = a.peer().handshake
	w.run(20 * time.Minute) // given up, and then 540 s
	if *h != (initiation{}) || a.peer().handshake != nil || len(a.core.index.m) != 0 {
		t.Fatal("the state of a handshake that was given up is still there")
	}
}

// socket.c, wg_socket_send_buffer_as_reply_to_skb and sticky sockets: what
// answers leaves from the address that was reached.
func TestAnswersLeaveFromTheAddressThatWasReached(t *testing.T) {
	for _, load := range []bool{false, true} {
		w, a, b := newPair(t, 14)
		if load {
			b.underLoad()
		}
		in := packet.NewBatch(packet.Room{})
		a.core.advance(w.now, a.out)
		d := a.out.send[0].Packet(0)
		copy(in.Append(len(d)), d)
		way := &packet.Path{Remote: a.Addr(), Local: netip.MustParseAddr("192.0.2.222"), IfIndex: 7}
		in.SetPath(0, way)
		b.core.receive(w.now, in, b.out)
		if len(b.out.send) != 1 || !b.out.send[0].Path(0).Equal(way) {
			t.Errorf("under load %v: want one answer along %+v", load, way)
		}
	}
}

// Not even if that is where it was asked for: what leaves from there may get lost, and
// who has nothing to send never tries another way.
func TestAResponseIsNotSentTheWayThatWasLeft(t *testing.T) {
	w, a, b := newPair(t, 14)
	way := &packet.Path{Remote: a.Addr(), Local: netip.MustParseAddr("192.0.2.222"), Arrived: 7}
	b.peer().left = way
	a.core.advance(w.now, a.out)
	in := packet.NewBatch(packet.Room{})
	d := a.out.send[0].Packet(0)
	copy(in.Append(len(d)), d)
	in.SetPath(0, way)
	b.core.receive(w.now, in, b.out)
	free := &packet.Path{Remote: a.Addr()}
	if len(b.out.send) != 1 || !b.out.send[0].Path(0).Equal(free) {
		t.Errorf("want one answer along %+v", free)
	}
}

// noise.c, INITIATIONS_PER_SECOND: at most one initiation of a peer in 20 ms.
func TestInitiationsOfOnePeerAreLimited(t *testing.T) {
	w, a, b := newPair(t, 14)
	w.Weather.Delay = 0
	w.run(time.Second)
	var h initiation
	for i := range 40 { // one every 5 ms for 200 ms
		h = initiation{index: uint32(i)}
		ts := newTimestamp(time.Unix(2e9+int64(i), 0), timestamp{})
		if err := a.core.self.Load().makeInitiation(&h, a.peer(), ts, a.core.random); err != nil {
			t.Fatal(err)
		}
		a.peer().jar.addMACs(w.now, h.msg[:], a.peer().key)
		w.fly(a.Addr(), b.Addr(), h.msg[:], 0)
		w.run(5 * time.Millisecond)
	}
	if n := len(b.sent(typeResponse)) - 1; n != 10 {
		t.Fatalf("%d of 40 initiations in 200 ms were answered, want 10", n)
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

// noise.c keeps the preshared key with the handshake, not with the sessions: one
// that only one side has been told of is noticed by the next handshake.
func TestAChangedPresharedKeyIsForTheNextHandshake(t *testing.T) {
	w, a, b := newPair(t, 18)
	w.run(10 * time.Second)
	psk := NewPresharedKey()
	ofA, ofB := w.pairConfig(a, b)
	ofA.PresharedKey, ofB.PresharedKey = psk, psk
	n := len(w.log)
	a.peers(ofB)
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
	if a.count(SessionUp) != 1 || len(b.got) != 150 {
		t.Fatalf("%d sessions and %d packets, want still the first one and 150", a.count(SessionUp), len(b.got))
	}
	b.peers(ofA)
	w.run(2 * rekeyTimeout)
	if a.count(SessionUp) != 2 || b.count(SessionUp) != 2 {
		t.Fatalf("%d and %d sessions, want 2: both have the key", a.count(SessionUp), b.count(SessionUp))
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
