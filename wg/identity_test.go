package wg

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

// setKey gives n another key at run time.
func (n *node) setKey(k PrivateKey) {
	n.key = k
	n.core.setPrivateKey(n.w.now, k, true)
}

// netns.sh, "private-key"; noise.c, wg_noise_expire_current_peer_keypairs: the
// old sessions are gone at once, and the new handshake does not wait for
// Rekey-Timeout, as to the peer we are somebody else.
func TestANewPrivateKeyShakesHandsAtOnce(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	old := a.peer().current.Load()
	fresh := PrivateKey{b: w.bytes32()}
	fresh.clamp()
	a.setKey(fresh)
	if old.refs.Load() != 0 || a.peer().current.Load() != nil || len(a.core.index.m) != 0 {
		t.Fatal("something of the old key's session is left")
	}
	ofA, _ := w.pairConfig(a, b)
	b.peers(ofA)
	a.send(toB(60))
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
	b.send(toA(60))
	w.run(100 * time.Millisecond)
	w.mustGet(a, toA(60))
	if n := len(a.sent(typeInitiation)); n != 2 {
		t.Fatalf("%d initiations were sent, want one for each key", n)
	}
}

// The far end is often told of our new key after us: copies of the initiation
// reach it soon, as with the first connect of all.
func TestThePeerMayLearnOurNewKeyALittleLater(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	a.setKey(PrivateKey{b: [32]byte{8, 31: 64}})
	w.run(200 * time.Millisecond)
	ofA, _ := w.pairConfig(a, b)
	b.peers(ofA)
	a.send(toB(60))
	w.run(500 * time.Millisecond)
	w.mustGet(b, toB(60))
}

// A response to the old key's initiation opens no session of the new key, and
// of the handshake nothing is kept to read one with (noise.c,
// wg_noise_handshake_clear).
func TestAResponseToTheOldKeyIsLost(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(15 * time.Millisecond) // the response is under way
	h := a.peer().handshake
	a.setKey(PrivateKey{b: [32]byte{8, 31: 64}})
	if *h != (initiation{}) || len(a.core.index.m) != 0 {
		t.Fatal("something of the old key's handshake is left")
	}
	w.run(time.Minute)
	if a.count(SessionUp) != 0 || b.count(SessionUp) != 0 || a.core.drops.badMAC.Load() != 1 {
		t.Fatalf("a session came of a handshake with two keys: %+v", a.core.drops.snapshot())
	}
}

// netlink.c, wg_set_device: the key that is there already changes nothing.
func TestTheSameKeyAgainKeepsTheSessions(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(10 * time.Second)
	n := len(w.log)
	a.setKey(a.key)
	a.send(toB(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	if got := w.log[n:]; len(got) != 1 {
		t.Fatalf("want the packet alone, got:%s", describe(got))
	}
}

// noise.c, has_identity: without a private key nothing is sent and nothing is
// answered. What was to be sent waits for one.
func TestWithoutAPrivateKeyThereIsSilence(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	key := a.key
	a.setKey(PrivateKey{})
	a.key = key // b goes on with what it knew
	n := len(w.log)
	a.send(toB(60))
	b.send(toA(60))
	w.run(time.Minute) // b tries, and tries anew
	for _, s := range w.log[n:] {
		if s.from == a.Addr() {
			t.Fatalf("something was sent without a key:%s", describe(w.log[n:]))
		}
	}
	if len(b.sent(typeInitiation)) == 0 {
		t.Fatal("b did not even ask: the test proves nothing")
	}
	if a.core.next() != 0 {
		t.Fatal("a timer runs for nothing")
	}
	a.setKey(key)
	w.run(100 * time.Millisecond)
	w.mustGet(b, toB(60))
}

// As for a device that is made before its key is set.
func TestAPrivateKeyThatComesLaterConnects(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(outsideA), w.add(outsideB)
	ofA, ofB := w.pairConfig(a, b)
	key := a.key
	a.key = PrivateKey{}
	a.restart()
	b.peers(ofA)
	a.peers(ofB)
	w.run(time.Minute)
	if len(w.log) != 0 {
		t.Fatalf("something was sent without a key:%s", describe(w.log))
	}
	a.setKey(key)
	w.run(100 * time.Millisecond)
	if a.count(SessionUp) != 1 || b.count(SessionUp) != 1 {
		t.Fatalf("no session with the key:%s", describe(w.log))
	}
}

// netlink.c, wg_set_device: a peer with our own new key is removed, and what
// was routed to it has no peer.
func TestAPeerThatIsOurselvesNowGoes(t *testing.T) {
	w, a, b := newPair(t, 1)
	_, ofB := w.pairConfig(a, b)
	key := PrivateKey{b: [32]byte{8, 31: 64}}
	insideC := netip.MustParseAddrPort("10.0.0.3:1")
	ofC := Peer{PublicKey: key.Public(), Endpoint: endpointAt(netip.MustParseAddrPort("192.0.2.3:3")),
		AllowedIPs: append(allowed(insideC), netip.MustParsePrefix("10.0.0.0/8"))}
	a.peers(ofB, ofC)
	a.setKey(key)
	if r := a.core.roster.Load(); len(r.byKey) != 1 || r.routes.lookup(insideC.Addr()) != nil || r.routes.lookup(insideB.Addr()) != a.peer(b) {
		t.Fatal("the routes are not those of the other peer alone")
	}
	n := a.core.drops.noPeer.Load()
	a.send(wgtest.UDP(insideA, insideC, 60, nil))
	if a.core.drops.noPeer.Load() != n+1 {
		t.Fatal("a packet to ourselves found a peer")
	}
	a.setKey(PrivateKey{b: [32]byte{16, 31: 64}})
	if len(a.core.roster.Load().byKey) != 1 {
		t.Fatal("the peer came back by itself")
	}
	a.peers(ofB, ofC)
	if len(a.core.roster.Load().byKey) != 2 {
		t.Fatal("the peer is still ourselves")
	}
}

// A persistent keepalive goes on under the new key, also to a peer that only
// ever spoke first.
func TestPersistentKeepalivesGoOnUnderANewKey(t *testing.T) {
	w, a, b := newPair(t, 1, func(ofA, _ *Peer) { ofA.Keepalive = 20 * time.Second })
	w.run(time.Second)
	b.setKey(PrivateKey{b: [32]byte{8, 31: 64}})
	_, ofB := w.pairConfig(a, b)
	ofB.Endpoint = Endpoint{}
	a.peers(ofB)
	w.run(time.Second)
	if b.count(SessionUp) != 2 {
		t.Fatalf("the peer that we only know by roaming was not spoken to:%s", describe(w.log))
	}
}

// The old private key does not stay in memory.
func TestAReplacedPrivateKeyIsOverwritten(t *testing.T) {
	w, a, _ := newPair(t, 1)
	w.run(time.Second)
	old := a.core.self.Load()
	a.setKey(PrivateKey{b: [32]byte{8, 31: 64}})
	if !old.private.IsZero() {
		t.Error("the old private key is still there")
	}
	a.core.close()
	if !a.core.self.Load().private.IsZero() {
		t.Error("the private key is still there after close")
	}
}

// netns.sh lists these; the engine takes them, as the kernel does, and config
// and gateway refuse them with words of their own.
func TestPeersWithLowOrderKeysAreNeverSpokenTo(t *testing.T) {
	for i := range lowOrderPoints {
		w := newWorld(t, 1)
		a := w.add(outsideA)
		inside := netip.MustParseAddrPort("10.0.0.9:9")
		a.peers(Peer{PublicKey: lowOrder(t, i), Endpoint: endpointAt(outsideB), Keepalive: time.Second, AllowedIPs: allowed(inside)})
		a.send(wgtest.UDP(insideA, inside, 60, nil))
		w.run(10 * time.Second)
		a.core.networkChanged(w.now, nil, a.out)
		a.deliver()
		a.setKey(PrivateKey{b: [32]byte{8, 31: 64}})
		w.run(time.Minute)
		if len(w.log) != 0 {
			t.Errorf("point %d: something was sent:%s", i, describe(w.log))
		}
		if a.core.drops.noEndpoint.Load() != 1 || len(a.peer().staged) != 0 || a.core.next() != 0 {
			t.Errorf("point %d: a packet or a timer waits for a peer that will never come", i)
		}
	}
}

// Whoever claims such a key can compute every secret of the handshake without
// owning a private key. It gets no answer.
func TestInitiationsFromLowOrderKeysAreNotAnswered(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.run(time.Second)
	ofA, _ := w.pairConfig(a, b)
	low := lowOrder(t, 1)
	b.peers(ofA, Peer{PublicKey: low})
	forger := &identity{public: low} // its static-static secret is zero, as anyone knows
	var h initiation
	p := &peer{key: b.key.Public(), self: forger}
	if err := forger.makeInitiation(&h, p, newTimestamp(time.Unix(2e9, 0), timestamp{}), a.core.random); err != nil {
		t.Fatal(err)
	}
	p.jar.addMACs(w.now, h.msg[:], p.key)
	n := len(b.sent(typeResponse))
	w.fly(netip.MustParseAddrPort("192.0.2.66:6"), b.Addr(), h.msg[:], 0)
	w.run(time.Second)
	if len(b.sent(typeResponse)) != n {
		t.Fatal("the forger got a response")
	}
}

func TestLowOrderKeysAreRecognised(t *testing.T) {
	for i := range lowOrderPoints {
		k := lowOrder(t, i)
		if !k.IsLowOrder() {
			t.Errorf("point %d is not recognised", i)
		}
		k[31] |= 0x80 // RFC 7748 §5: this bit is ignored
		if !k.IsLowOrder() {
			t.Errorf("point %d with its top bit set is not recognised", i)
		}
	}
	for range 20 {
		if k := NewPrivateKey().Public(); k.IsLowOrder() {
			t.Fatalf("%v is a good key", k)
		}
	}
}

// Keys, peers and packets all at once, for the race detector; then traffic
// flows under the last key.
func TestPrivateKeysChangeWhileTrafficFlows(t *testing.T) {
	ctx := testContext(t)
	network := wgtest.NewNetwork(1)
	keys := []PrivateKey{NewPrivateKey(), NewPrivateKey(), {}}
	keyB := NewPrivateKey()
	pipeA, pipeB := wgtest.NewPipe(1420), wgtest.NewPipe(1420)
	ofB := Peer{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}
	ofA := Peer{AllowedIPs: allowed(insideA), Endpoint: endpointAt(outsideA)}
	a := runEngine(t, Config{PrivateKey: keys[0], Device: pipeA, Transport: network.Listen(outsideA), Peers: []Peer{ofB}})
	b := runEngine(t, Config{PrivateKey: keyB, Device: pipeB, Transport: network.Listen(outsideB)})
	stop := make(chan struct{})
	var pumps, setters sync.WaitGroup
	pump := func(f func()) {
		pumps.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	pump(func() {
		batch := packet.NewBatch(Room(1420))
		copy(batch.Append(200), toB(200))
		a.Outbound(batch)
	})
	pump(func() { pipeB.Send(toA(100)) })
	pump(func() { a.Status(); b.Status() })
	setters.Go(func() {
		for i := range 60 {
			if err := a.SetPrivateKey(keys[i%len(keys)]); err != nil {
				t.Error(err)
			}
		}
	})
	setters.Go(func() {
		for i := range 60 {
			of := ofA
			of.PublicKey = keys[i%2].Public()
			if err := b.SetPeers([]Peer{of}); err != nil {
				t.Error(err)
			}
			if err := a.SetPeers([]Peer{ofB}[:i%2]); err != nil {
				t.Error(err)
			}
		}
	})
	setters.Wait()
	close(stop)
	pumps.Wait()

	ofA.PublicKey = keys[1].Public()
	if err := errors.Join(b.SetPeers([]Peer{ofA}), a.SetPeers([]Peer{ofB}), a.SetPrivateKey(keys[0]), a.SetPrivateKey(keys[1])); err != nil {
		t.Fatal(err)
	}
	marked := wgtest.UDP(insideA, insideB, 99, []byte("the last"))
	pipeA.Send(marked)
	for {
		pkt := pipeB.Receive(ctx)
		if pkt == nil {
			t.Fatal("no packet came through under the last key")
		}
		if slices.Equal(pkt, marked) {
			break
		}
	}
}

func TestAnEngineMayBeMadeWithoutAKey(t *testing.T) {
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	a := runEngine(t, Config{Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideA), Peers: []Peer{
		{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}})
	runEngine(t, Config{PrivateKey: keyB, Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideB), Peers: []Peer{
		{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}})
	if got := a.Status().PublicKey; !got.IsZero() {
		t.Fatalf("the status tells the public key %v", got)
	}
	if err := a.SetPrivateKey(keyA); err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if a.Status().PublicKey != keyA.Public() {
		t.Fatal("the status does not tell our public key")
	}
}

// Before Run the key is only remembered; after it there is nobody to have one.
func TestThePrivateKeyMayBeSetBeforeRun(t *testing.T) {
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	a, err := New(Config{Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideA), Peers: []Peer{
		{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetPrivateKey(keyA); err != nil {
		t.Fatal(err)
	}
	runEngine(t, Config{PrivateKey: keyB, Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideB), Peers: []Peer{
		{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}})
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	if err := a.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := a.SetPrivateKey(keyA); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after Run SetPrivateKey returned %v", err)
	}
}
