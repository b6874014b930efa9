package wg

import (
	"net/netip"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

func newRejects() *rejects {
	return &rejects{batch: packet.NewBatch(packet.Room{}), now: simStart}
}

// device.c, wg_xmit: host unreachable, address unreachable.
func TestPacketsWithoutAPeerAreAnswered(t *testing.T) {
	w, a, _ := newPair(t, 1)
	stranger, stranger6 := netip.MustParseAddrPort("10.7.7.7:7"), netip.MustParseAddrPort("[fd00::7]:7")
	for _, c := range []struct {
		pkt            []byte
		kind, code     byte
		header, quoted int
	}{
		{wgtest.UDP(insideA, stranger, 100, nil), 3, 1, 20, 100},
		{wgtest.UDP(insideA, stranger, 1420, nil), 3, 1, 20, 548},
		{wgtest.UDP(inside6A, stranger6, 100, nil), 1, 3, 40, 100},
		{wgtest.UDP(inside6A, stranger6, 1420, nil), 1, 3, 40, 1232},
	} {
		r := newRejects()
		b := packet.NewBatch(Room(1420))
		copy(b.Append(len(c.pkt)), c.pkt)
		a.core.seal(w.now, b, r)
		if len(b.Packet(0)) != 0 || r.batch.Len() != 1 {
			t.Fatalf("want the packet dropped and one answer, got %d", r.batch.Len())
		}
		m := r.batch.Packet(0)
		if m[c.header] != c.kind || m[c.header+1] != c.code || len(m) != c.header+8+c.quoted {
			t.Fatalf("got type %d code %d in %d bytes, want %d, %d, %d", m[c.header], m[c.header+1],
				len(m), c.kind, c.code, c.header+8+c.quoted)
		}
		if string(m[c.header+8:]) != string(c.pkt[:c.quoted]) {
			t.Fatal("the answer does not quote the packet")
		}
		if innerLength(m) != len(m) {
			t.Fatal("the answer's length is wrong")
		}
		if c.header == 20 {
			if wgtest.Checksum(m[:20]) != 0 || wgtest.Checksum(m[20:]) != 0 {
				t.Fatal("a checksum is wrong")
			}
		} else {
			pseudo := append(append([]byte(nil), m[8:40]...), 0, 0, byte((len(m)-40)>>8), byte(len(m)-40), 0, 0, 0, 58)
			if wgtest.Checksum(append(pseudo, m[40:]...)) != 0 {
				t.Fatal("the checksum is wrong")
			}
		}
	}
}

func TestAPeerThatIsNowhereIsUnreachable(t *testing.T) {
	w, _, b := newPair(t, 1) // b does not know where a is
	r := newRejects()
	batch := packet.NewBatch(Room(1420))
	copy(batch.Append(60), toA(60))
	b.core.seal(w.now, batch, r)
	if r.batch.Len() != 1 || b.core.drops.noEndpoint.Load() != 1 {
		t.Fatal("a packet for a peer without an endpoint was not refused")
	}
}

// RFC 1122 §3.2.2, RFC 4443 §2.4 (e).
func TestErrorsAreNotAnsweredByErrors(t *testing.T) {
	icmp := func(pkt []byte, at int, proto, kind byte) []byte {
		if pkt[0]>>4 == 4 {
			pkt[9] = proto
		} else {
			pkt[6] = proto
		}
		pkt[at] = kind
		return pkt
	}
	udp4 := func() []byte { return wgtest.UDP(insideA, insideB, 60, nil) }
	udp6 := func() []byte { return wgtest.UDP(inside6A, inside6B, 60, nil) }
	fragment := udp4()
	fragment[7] = 1
	for _, c := range []struct {
		name string
		pkt  []byte
		want bool
	}{
		{"UDP", udp4(), true},
		{"UDP over IPv6", udp6(), true},
		{"echo request", icmp(udp4(), 20, 1, 8), true},
		{"destination unreachable", icmp(udp4(), 20, 1, 3), false},
		{"IPv6 echo request", icmp(udp6(), 40, 58, 128), true},
		{"packet too big", icmp(udp6(), 40, 58, 2), false},
		{"a later fragment", fragment, false},
		{"to a multicast group", wgtest.UDP(insideA, netip.MustParseAddrPort("224.0.0.1:1"), 60, nil), false},
		{"to an IPv6 multicast group", wgtest.UDP(inside6A, netip.MustParseAddrPort("[ff02::1]:1"), 60, nil), false},
		{"from nobody", wgtest.UDP(netip.MustParseAddrPort("0.0.0.0:1"), insideB, 60, nil), false},
		{"from no network", wgtest.UDP(netip.MustParseAddrPort("0.1.2.3:1"), insideB, 60, nil), false},
		{"from class E", wgtest.UDP(netip.MustParseAddrPort("240.0.0.1:1"), insideB, 60, nil), false},
		{"to all", wgtest.UDP(insideA, netip.MustParseAddrPort("255.255.255.255:1"), 60, nil), false},
		{"from no IPv6 address", wgtest.UDP(netip.MustParseAddrPort("[::]:1"), inside6B, 60, nil), false},
	} {
		r := newRejects()
		r.add(c.pkt)
		if got := r.batch.Len() == 1; got != c.want {
			t.Errorf("%s: answered: %v, want %v", c.name, got, c.want)
		}
		if !c.want && r.full != 0 {
			t.Errorf("%s: what gets no answer counts against the limit", c.name)
		}
	}
}

func TestAnswersAreRateLimited(t *testing.T) {
	r := newRejects()
	answers := 0
	for range 1000 {
		r.add(toB(28))
		answers += r.batch.Len()
		r.batch.Reset()
	}
	if answers != icmpBurst {
		t.Fatalf("%d answers at once, want %d", answers, icmpBurst)
	}
	r.now = r.now.after(time.Second / 10)
	for range 1000 {
		r.add(toB(28))
		answers += r.batch.Len()
		r.batch.Reset()
	}
	if answers != icmpBurst+icmpPerSecond/10 {
		t.Fatalf("%d answers after a tenth of a second, want %d", answers, icmpBurst+icmpPerSecond/10)
	}
}
