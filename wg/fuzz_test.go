package wg

import (
	"encoding/binary"
	"testing"
	"time"

	"adit/wg/wgtest"
)

// §5.4: a message is one of four sizes, and its reserved bytes are zero.
func TestMessageTypes(t *testing.T) {
	msg := func(kind uint32, size int) []byte {
		b := make([]byte, size)
		binary.LittleEndian.PutUint32(b, kind)
		return b
	}
	for _, c := range []struct {
		msg  []byte
		want uint32
	}{
		{msg(1, 148), 1}, {msg(1, 147), 0}, {msg(1, 149), 0}, {msg(1, 92), 0},
		{msg(2, 92), 2}, {msg(2, 91), 0}, {msg(2, 93), 0}, {msg(2, 148), 0},
		{msg(3, 64), 3}, {msg(3, 63), 0}, {msg(3, 65), 0},
		{msg(4, 32), 4}, {msg(4, 31), 0}, {msg(4, 1452), 4}, {msg(4, 65535), 4},
		{msg(0, 148), 0}, {msg(5, 148), 0}, {msg(0x101, 148), 0}, {msg(0x01000002, 92), 0}, {msg(0x10004, 32), 0},
		{nil, 0}, {make([]byte, 3), 0},
	} {
		if got := messageType(c.msg); got != c.want {
			t.Errorf("%d bytes beginning %x: type %d, want %d", len(c.msg), c.msg[:min(4, len(c.msg))], got, c.want)
		}
	}
}

// Every parser of messages, with whatever bytes.
func FuzzMessageParsers(f *testing.F) {
	f.Add(make([]byte, initiationLen))
	f.Add(make([]byte, responseLen))
	f.Add(make([]byte, cookieLen))
	id := newIdentity(fixedKey(8))
	peerOf := &peer{key: fixedKey(16).Public()}
	f.Fuzz(func(t *testing.T, msg []byte) {
		switch messageType(msg) {
		case typeInitiation:
			var r received
			if id.openStatic(&r, msg) == nil {
				if _, err := r.openTimestamp(peerOf, msg); err == nil {
					t.Fatal("an initiation without a key was believed")
				}
			}
			if id.checkMAC1(msg) {
				t.Fatal("a mac1 was guessed")
			}
		case typeResponse:
			h := &initiation{state: newNoiseState(peerOf.key), ephemeral: [32]byte{9}}
			var psk PresharedKey
			if _, _, _, err := id.openResponse(h, msg, &psk); err == nil {
				t.Fatal("a response without a key was believed")
			}
		case typeCookie:
			j := cookieJar{sent: true}
			if j.open(simStart, msg, peerOf.key) {
				t.Fatal("a cookie without a key was believed")
			}
		}
	})
}

// Packets that came out of an authentic message are still whatever the peer
// says they are.
func FuzzInnerPackets(f *testing.F) {
	f.Add(toB(60), uint8(3))
	f.Add([]byte{0x60, 0, 0, 0, 0xff, 0xff}, uint8(1))
	f.Fuzz(func(t *testing.T, pkt []byte, ecn uint8) {
		if len(pkt) == 0 || len(pkt) > 2000 {
			return
		}
		n := innerLength(pkt)
		if n < 0 || n > len(pkt) || n > 0 && n < 20 {
			t.Fatalf("the inner length of %d bytes is %d", len(pkt), n)
		}
		if n == 0 {
			return
		}
		decapsulateECN(pkt[:n], ecn&3)
		new(run).speaksFor(&allowedIPs{}, pkt[:n])
		r := newRejects()
		r.add(pkt[:n])
	})
}

// Arbitrary datagrams into an engine that has a session: no panic, nothing
// remembered, no answer, and the tunnel goes on.
func FuzzReceive(f *testing.F) {
	w, a, b := newPair(f, 1)
	var valid [][]byte
	w.tap = func(_, _ *node, d []byte) { valid = append(valid, append([]byte(nil), d...)) }
	w.run(time.Second)
	a.send(toB(60))
	w.run(time.Second)
	for _, d := range valid {
		f.Add(d, uint16(4), byte(1))
		f.Add(d[:len(d)-1], uint16(0), byte(0))
	}
	f.Add([]byte{4, 0, 0, 0}, uint16(0), byte(0))
	w.tap = nil
	f.Fuzz(func(t *testing.T, d []byte, at uint16, change byte) {
		if len(d) > 4000 {
			return
		}
		w.t = t
		d = append([]byte(nil), d...)
		if len(d) > 0 {
			d[int(at)%len(d)] ^= change
		}
		sent, indices, deadline := len(w.log), len(b.core.index.m), b.core.next()
		w.now++
		b.core.load = loadMeter{} // a million replays a second are load, and then get cookies
		b.Receive(time.Duration(w.now), wgtest.Datagram{From: outsideA, To: b.Addr(), Data: d})
		if len(w.log) != sent {
			t.Fatalf("%x was answered", d)
		}
		if len(b.core.index.m) != indices || b.core.next() != deadline || len(b.core.sources.full) != 0 {
			t.Fatalf("%x is remembered", d)
		}
		if len(b.got) > 1 {
			t.Fatalf("%x came out of the tunnel", d)
		}
		w.log = w.log[:sent]
	})
}
