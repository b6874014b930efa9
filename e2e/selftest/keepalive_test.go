package selftest

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The sizes of messages (§5.4).
const (
	initiationLen = 148
	responseLen   = 92
	keepaliveLen  = 32
)

// netns.sh uses a persistent keepalive only to hold a mapping open; here it is
// counted. An empty data message (32 bytes, §6.5) each second, and nothing else
// at all: keepalives are not answered (§6.5), and the first follows the
// handshake at once (netlink.c, set_peer).
func TestPersistentKeepaliveIsCountedToTheByte(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		const n = 5
		w := newWorld(t, p)
		r := w.newRelay(distant)
		seen := w.middle.watch("toa")
		w.a.set("peer %s endpoint %s persistent-keepalive 1", w.b.key.Public, r.forA())
		sent := func() []datagram { return kinds(seen.from(v4.endpointA()), dataMessage) }
		eventually(t, "five keepalives", func() bool { return len(sent()) >= n })
		w.a.set("peer %s persistent-keepalive 0", w.b.key.Public)
		last := len(sent())
		during(t, 1500*time.Millisecond, "silence after keepalives are off", func() bool { return len(sent()) <= last+1 })

		list := sent()
		for i, d := range list {
			if d.size != keepaliveLen {
				t.Errorf("a sends %v, want keepalives of %d bytes alone", d, keepaliveLen)
			}
			if i > 0 && d.at.Sub(list[i-1].at) < 900*time.Millisecond {
				t.Errorf("keepalives %v apart, want 1s", d.at.Sub(list[i-1].at))
			}
		}
		all := seen.from(v4.endpointA())
		if len(all) != len(list)+1 || len(kinds(all, initiation)) != 1 {
			t.Errorf("a sends %v, want one initiation and keepalives", all)
		}
		if back := seen.from(r.forA()); len(back) != 1 || back[0].kind != response || back[0].size != responseLen {
			t.Errorf("b sends %v, want one response and no word more", back)
		}
		want := count{received: responseLen, sent: initiationLen + len(list)*keepaliveLen}
		if got := w.a.transfer(w.b.key.Public); got != want {
			t.Errorf("a counts %+v, want %+v", got, want)
		}
		if got := w.b.transfer(w.a.key.Public); (got != count{want.sent, want.received}) {
			t.Errorf("b counts %+v, want the mirror of %+v", got, want)
		}
	})
}

// §6.5, KEEPALIVE-TIMEOUT: who got data and had nothing to say for ten seconds
// says that it is there. The other then has no reason to shake hands again.
func TestPassiveKeepaliveFollowsAfterTenSeconds(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		r := w.newRelay(distant)
		r.between(w)
		w.b.newSink(insideB4, 1111) // so that no kernel answers
		seen := w.middle.watch("toa")
		w.a.say("x", insideA4, insideB4, 1111)
		back := func() []datagram { return kinds(seen.from(r.forA()), dataMessage) }
		there := func() []datagram { return kinds(seen.from(v4.endpointA()), dataMessage) }
		eventually(t, "a keepalive in answer to data", func() bool { return len(back()) > 0 })
		if d := back()[0]; d.size != keepaliveLen || d.at.Sub(there()[0].at) < 9900*time.Millisecond {
			t.Errorf("after %v b answers with %v", d.at.Sub(there()[0].at), d)
		}
		// 15 s after its data a would have asked again: see the test below.
		during(t, 7*time.Second, "quiet", func() bool { return len(seen.from(v4.endpointA())) == 2 && len(back()) == 1 })
		const data = 32 + 32 // 29 bytes, padded
		want := count{received: responseLen + keepaliveLen, sent: initiationLen + data}
		if got := w.a.transfer(w.b.key.Public); got != want {
			t.Errorf("a counts %+v, want %+v", got, want)
		}
		if got := w.b.transfer(w.a.key.Public); (got != count{want.sent, want.received}) {
			t.Errorf("b counts %+v, want the mirror of %+v", got, want)
		}
	})
}

// The control of the test above, and a rule of its own (§6.2): who sent data
// and heard nothing for KEEPALIVE-TIMEOUT + REKEY-TIMEOUT = 15 s shakes hands
// anew.
func TestSilenceAfterDataMeansANewHandshake(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		r := w.newRelay(func(r *rand.Rand, toB bool, b []byte) [][]byte {
			if !toB && len(b) == keepaliveLen {
				return nil
			}
			return distant(r, toB, b)
		})
		r.between(w)
		w.b.newSink(insideB4, 1111)
		seen := w.middle.watch("toa")
		w.a.say("x", insideA4, insideB4, 1111)
		asks := func() []datagram { return kinds(seen.from(v4.endpointA()), initiation) }
		eventually(t, "a second initiation", func() bool { return len(asks()) >= 2 })
		if d := asks()[1].at.Sub(asks()[0].at); d < 14900*time.Millisecond {
			t.Errorf("the second initiation is %v after the first, want 15s", d)
		}
	})
}
