package wg

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

func toB(size int) []byte { return wgtest.UDP(insideA, insideB, size, []byte("to b")) }
func toA(size int) []byte { return wgtest.UDP(insideB, insideA, size, []byte("to a")) }

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
	b.Deaf(true)
	for i := range maxStaged + 10 {
		a.send(toB(100 + i))
	}
	w.run(time.Second)
	b.Deaf(false)
	w.run(7 * time.Second)
	if len(b.got) != maxStaged || len(b.got[0]) != 110 {
		t.Fatalf("%d packets came, the first of %d bytes; want %d, of 110", len(b.got), len(b.got[0]), maxStaged)
	}
	if d := a.core.drops.staged.Load(); d != 10 {
		t.Fatalf("%d packets counted as dropped, want 10", d)
	}
}

// The device's MTU may be raised before the engine has heard of it. Padded, such
// a packet is longer than any datagram; it is lost, alone.
func TestPacketsThatFitIntoNoDatagramAreDropped(t *testing.T) {
	w, a, b := newPair(t, 1)
	huge := wgtest.UDP(insideA, insideB, 65535, nil)
	a.send(toB(60), huge, toB(61)) // staged
	w.run(time.Second)
	w.mustGet(b, toB(60), toB(61))
	a.send(toB(62), huge)
	a.send(toB(63))
	w.run(time.Second)
	w.mustGet(b, toB(62), toB(63))
	for _, m := range a.sent(typeData) {
		if m.size > maxDataLen {
			t.Errorf("a message of %d bytes was sent", m.size)
		}
	}
}

// §2.1: roaming by every authentic message; the other end follows at once.
func TestPeersRoam(t *testing.T) {
	w, a, b := newPair(t, 11)
	w.run(time.Second)
	elsewhere := netip.MustParseAddrPort("[2001:db8::5]:77")
	a.Move(elsewhere)
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
		w.fly(netip.MustParseAddrPort("203.0.113.9:9"), b.Addr(), d, 0) // replayed
		d[len(d)-1] ^= 1
		w.fly(netip.MustParseAddrPort("203.0.113.9:9"), b.Addr(), d, 0) // and forged
	}
	n := len(w.log)
	w.run(time.Second)
	if got := b.peer().path.Load().Remote; got != a.Addr() {
		t.Fatalf("b now sends to %v", got)
	}
	if len(w.log) != n {
		t.Fatalf("forgeries were answered:%s", describe(w.log[n:]))
	}
}

// §2: a peer speaks only for its own addresses, by the longest prefix.
func TestPacketsFromForeignSourcesAreDropped(t *testing.T) {
	w, a, b := newPair(t, 15, func(_, b *Peer) { b.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} })
	foreign := netip.MustParseAddrPort("10.9.9.9:1")
	w.run(time.Second)
	before := b.peer().rx
	a.send(wgtest.UDP(foreign, insideB, 60, nil))
	w.run(time.Second)
	w.mustGet(b)
	if n := b.core.drops.sourceDenied.Load(); n != 1 {
		t.Fatalf("%d packets counted, want 1", n)
	}
	if got := b.peer().rx; got != before { // receive.c, dishonest_packet_peer
		t.Fatalf("%d bytes count as received though nothing was taken", got-before)
	}
}

// The most specific prefix decides, also against a wider one of the peer
// itself: what belongs to another peer within it may not be spoken for.
func TestAPeerMayNotSpeakForAnotherWithinItsOwnPrefix(t *testing.T) {
	w, a, b := newPair(t, 15, func(_, b *Peer) { b.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} })
	ofA, _ := w.pairConfig(a, b)
	ofA.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	insideC := netip.MustParseAddrPort("10.0.0.3:1")
	b.peers(ofA, Peer{PublicKey: fixedPublic(3), AllowedIPs: allowed(insideC)})
	a.send(wgtest.UDP(insideC, insideB, 60, nil), toB(60))
	w.run(time.Second)
	w.mustGet(b, toB(60))
	if n := b.core.drops.sourceDenied.Load(); n != 1 {
		t.Fatalf("%d packets were refused for their source, want 1", n)
	}
}

// §5.4.6; receive.c: the counter of what is not authentic says nothing. Else
// anyone could slide the window over what is still to come.
func TestForgeriesDoNotMoveTheReplayWindow(t *testing.T) {
	w, a, b := newPair(t, 16)
	w.run(time.Second)
	a.send(toB(60))
	w.InTheAir(func(d *wgtest.Datagram) {
		forged := append([]byte(nil), d.Data...)
		binary.LittleEndian.PutUint64(forged[dataCounter:], 1<<40)
		w.fly(d.From, d.To, forged, 0)
	})
	w.run(time.Second)
	if b.core.drops.badTag.Load() != 1 {
		t.Fatal("the forgery did not arrive: the test is wrong")
	}
	a.send(toB(61))
	w.run(time.Second)
	w.mustGet(b, toB(60), toB(61))
}

// socket.c, wg_socket_set_peer_endpoint; whitepaper §2.1: of many messages in
// one batch, as UDP_GRO brings them, the last authentic one says where the peer
// is and which address of ours it reached.
func TestTheLastAuthenticMessageOfABatchSaysWhereAPeerIs(t *testing.T) {
	w, a, b := newPair(t, 16)
	w.run(time.Second)
	in := packet.NewBatch(packet.Room{})
	var ways []*packet.Path
	for i, at := range []string{"198.51.100.1:1", "198.51.100.2:2", "198.51.100.3:3"} {
		sealed := a.sealed(toB(60 + i))
		copy(in.Append(len(sealed.Packet(0))), sealed.Packet(0))
		ways = append(ways, &packet.Path{Remote: netip.MustParseAddrPort(at), Local: netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)})})
		in.SetPath(i, ways[i])
	}
	in.Packet(2)[40] ^= 1
	b.core.receive(w.now, in, b.out)
	b.deliver()
	if got := b.peer().path.Load(); got != ways[1] {
		t.Fatalf("the peer is at %+v, want %+v", got, ways[1])
	}
	answer := b.sealed(toA(60))
	if got := answer.Path(0); !got.Equal(ways[1]) {
		t.Fatalf("the answer goes along %+v, want %+v", got, ways[1])
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

// §5.4.6: padding is zeros, not what was in memory.
func TestPaddingIsZero(t *testing.T) {
	w, a, b := newPair(t, 16)
	w.run(time.Second)
	batch := packet.NewBatch(Room(1420))
	for i := range batch.Slab() {
		batch.Slab()[i] = 0xff
	}
	copy(batch.Append(33), toB(33))
	a.core.seal(w.now, batch, nil)
	m := batch.Packet(0)
	if !openOne(b.peer().current.Load(), m) {
		t.Fatal("the message is not authentic")
	}
	for i, c := range m[headerLen+33 : len(m)-tagLen] {
		if c != 0 {
			t.Fatalf("byte %d of the padding is %#x", i, c)
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

// Outbound found no session; before it could stage the packets one came up, and
// flushed what was staged until then. They must not be staged for nobody.
func TestPacketsAreNotStagedBesideASession(t *testing.T) {
	w, a, _ := newPair(t, 16)
	w.run(time.Second)
	batch := packet.NewBatch(Room(1420))
	copy(batch.Append(60), toB(60))
	if a.core.hold(w.now, batch, 0, 1, a.peer(), nil) || len(a.peer().staged) != 0 || len(batch.Packet(0)) == 0 {
		t.Fatal("a packet was staged although there is a session")
	}
}
