package wg

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"adit/wg/wgtest"
)

// A gateway's peers all come at once, as after its restart: nobody is asked for
// a cookie, all get a session, and each only its own packets.
func TestHundredsOfPeersAtOnce(t *testing.T) {
	const n = 200
	w := newWorld(t, 1)
	gate := w.add(outsideB)
	var peers []Peer
	var clients []*node
	inside := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 5000)
	}
	for i := range n {
		c := w.add(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 3, byte(i)}), uint16(1000+i)))
		c.peers(Peer{PublicKey: gate.key.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(gate.Addr())})
		peers = append(peers, Peer{PublicKey: c.key.Public(), AllowedIPs: allowed(inside(i))})
		clients = append(clients, c)
	}
	gate.peers(peers...)
	w.run(100 * time.Millisecond)
	if n := len(gate.sent(typeCookie)); n != 0 {
		t.Fatalf("%d cookies were asked for", n)
	}
	var batch [][]byte
	for i, c := range clients {
		if c.count(SessionUp) != 1 {
			t.Fatalf("client %d has %d sessions", i, c.count(SessionUp))
		}
		batch = append(batch, wgtest.UDP(insideB, inside(i), 60, binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	for ; len(batch) > 0; batch = batch[min(100, len(batch)):] { // one batch, many peers
		gate.send(batch[:min(100, len(batch))]...)
	}
	w.run(100 * time.Millisecond)
	for i, c := range clients {
		if len(c.got) != 1 || binary.BigEndian.Uint32(c.got[0][28:]) != uint32(i) {
			t.Fatalf("client %d got %d packets, want its own one", i, len(c.got))
		}
	}
}

// A flood of initiations, all of them with a right mac1: their number is
// bounded by cookies and by source, and a peer that answers the cookie gets
// through.
func TestAFloodOfInitiationsDoesNotShutPeersOut(t *testing.T) {
	w, a, b := newPair(t, 1)
	w.Weather.Delay = 0
	var flood [20][initiationLen]byte
	for i := range flood {
		h := initiation{index: uint32(i)}
		stranger := newIdentity(fixedKey(byte(i)))
		p := &peer{key: b.core.self.Load().public}
		if err := stranger.makeInitiation(&h, p, timestamp{byte(i)}, a.core.random); err != nil {
			t.Fatal(err)
		}
		p.jar.addMACs(w.now, h.msg[:], p.key)
		flood[i] = h.msg
	}
	for range 700 { // 2000 a second, for seven seconds
		for i := range flood {
			w.fly(netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:%d", i, i+1)), b.Addr(), flood[i][:], 0)
		}
		w.run(10 * time.Millisecond)
	}
	if a.count(SessionUp) != 1 {
		t.Fatal("the peer was shut out")
	}
	replies := len(b.sent(typeCookie))
	if strangers := b.core.drops.noPeer.Load(); strangers > 7*handshakesPerSecond+2*handshakeBurst {
		t.Fatalf("%d initiations of strangers were worked on, %d got a cookie", strangers, replies)
	}
	if replies == 0 {
		t.Fatal("nobody was asked for a cookie: the test is wrong")
	}
}

// Low memory per peer: most of a gateway's peers are away.
func TestAPeerThatIsAwayIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(peer{}); size > 1024 {
		t.Errorf("a peer is %d bytes, want at most 1024", size)
	}
	if testing.Short() {
		t.Skip("measures the heap with 5000 peers")
	}
	const n = 5000
	peers := make([]Peer, n)
	for i := range peers {
		peers[i] = Peer{PublicKey: fixedPublic(i), AllowedIPs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)}}
	}
	w := newWorld(t, 1)
	gate := w.add(outsideB)
	before := liveHeap()
	gate.peers(peers...)
	if each := (liveHeap() - before) / n; each > 1500 {
		t.Errorf("a peer that is away costs %d bytes, want at most 1500", each)
	}
	runtime.KeepAlive(gate)
}

func fixedPublic(i int) PublicKey {
	k := PrivateKey{b: [32]byte{8, byte(i), byte(i >> 8), 31: 64}}
	return k.Public()
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held lives through one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
