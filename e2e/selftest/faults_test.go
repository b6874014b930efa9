package selftest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Everything arrives twice, handshakes too: nothing is delivered twice (§5.4.6),
// nothing is counted twice. The response is spared where wireguard-go receives it:
// two of its workers may take it and its copy at the same time, count both and
// answer both with a keepalive (device/receive.go, RoutineHandshake).
func TestDuplicatesAreNotDelivered(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		need(t, "iperf3")
		w := newWorld(t, p)
		r := w.newRelay(func(r *rand.Rand, toB bool, b []byte) [][]byte {
			if binary.LittleEndian.Uint32(b) == response && p.a.name == wireguardGo.name {
				return [][]byte{b}
			}
			return duplicate(r, toB, b)
		})
		r.between(w)
		out := w.a.run("ping", "-q", "-c", "50", "-i", "0.01", "-w", "30", insideB4)
		if strings.Contains(out, "duplicates") {
			t.Errorf("pings arrive twice:\n%s", out)
		}
		busy.Lock()
		err := transferOver(w.a.host, w.b.host, insideB4, "1M")
		busy.Unlock()
		if err != nil {
			t.Error(err)
		}
		w.wantSameCounts()
		if asked, passed := r.ratio(); passed < 3*asked/2 || asked < 100 {
			t.Errorf("the test duplicates nothing: %v", r)
		}
	})
}

// Datagrams overtake each other by up to 64 places: each is delivered, once, for
// the window of counters is wider (RFC 6479; 8192 in Linux).
func TestReorderedDatagramsAreDeliveredOnce(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		const n, depth, port = 2000, 64, 1111
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		r := w.newRelay(reorder(depth))
		r.between(w)
		s := w.b.newSink(insideB4, port)
		s.c.SetReadBuffer(1 << 20)
		sent := make(chan error, 1) // the one result
		var arrived atomic.Int32
		go func() { sent <- w.a.count(n, insideA4, insideB4, port, &arrived) }()
		var got []int
		buf := make([]byte, 1500)
		for len(got) < n-depth {
			s.c.SetReadDeadline(time.Now().Add(patience))
			if _, err := s.c.Read(buf); err != nil {
				t.Fatalf("%d of %d datagrams arrive, want %d: %v (%v)", len(got), n, n-depth, err, r)
			}
			got = append(got, int(binary.BigEndian.Uint32(buf)))
			arrived.Store(int32(len(got)))
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if slices.IsSorted(got) {
			t.Error("the test reorders nothing")
		}
		slices.Sort(got)
		if len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Error("a datagram is delivered twice")
		}
	})
}

// count sends n numbered datagrams, and is never further ahead of what has
// arrived than all the queues on the way can hold.
func (h *host) count(n int, from, to string, port int, arrived *atomic.Int32) error {
	const ahead = 200
	var c *net.UDPConn
	err := h.ns.Do(func() (err error) {
		c, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), uint16(port))))
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range n {
		if _, err := c.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			return err
		}
		for end := time.Now().Add(patience); i-int(arrived.Load()) > ahead; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("of %d datagrams only %d arrive", i, arrived.Load())
			}
		}
	}
	return nil
}

// One datagram of five is lost, in both directions, handshakes too: pings come
// through, and TCP does its work.
func TestTunnelWorksAtTwentyPercentLoss(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		need(t, "iperf3")
		w := newWorld(t, p)
		r := w.newRelay(lose(0.2))
		r.between(w)
		w.a.run("ping", "-q", "-c", "50", "-i", "0.05", "-w", "50", insideB4)
		if err := transferOver(w.a.host, w.b.host, insideB4, "64K"); err != nil {
			t.Errorf("%v (%v)", err, r)
		}
		if asked, passed := r.ratio(); passed > asked*9/10 {
			t.Errorf("the test loses nothing: %v", r)
		}
	})
}

// The control of them all: the relay without faults carries everything.
func TestRelayCarriesEverything(t *testing.T) {
	t.Parallel()
	need(t)
	w := newWorld(t, control)
	r := w.newRelay(func(_ *rand.Rand, _ bool, b []byte) [][]byte { return [][]byte{b} })
	r.between(w)
	w.a.pingOnce(5, insideB4)
	w.b.pingOnce(5, insideA4)
	if asked, passed := r.ratio(); asked != passed || asked < 22 {
		t.Errorf("the relay drops: %v", r)
	}
}
