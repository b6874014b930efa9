package wg

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"adit/wg/wgtest"
)

// A script is bytes that say what happens next.
type script struct{ b []byte }

func (s *script) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	b := s.b[0]
	s.b = s.b[1:]
	return b
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(s.b))
	b := s.b[:n]
	s.b = s.b[n:]
	return b
}

// The whole receive path, fed by a script: between the packets of honest users,
// who always get through, anybody sends anything from anywhere: what was heard
// before, whole, changed, cut or lengthened, or bytes of their own. §5.1: "a
// server that is silent": there is no answer, nothing is remembered, nothing
// comes out.
func FuzzScriptsOfDatagrams(f *testing.F) {
	f.Add([]byte{0, 1, 3, 0, 0, 3, 1, 0, 4, 2, 40, 0x10, 0, 5, 2, 30, 6, 2, 9, 2, 200, 0, 1})
	f.Add([]byte{0, 7, 4, 4, 0, 0, 0, 2, 125, 0, 2, 60, 3, 0, 1, 1, 3, 2, 0})
	f.Add([]byte{2, 181, 2, 200, 2, 200, 0, 4, 0, 4, 1, 4, 1, 148, 1, 4, 0, 116, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			return
		}
		w, a, o := newPair(t, 1, func(a, _ *Peer) { a.Endpoint = endpointAt(outsideA) })
		w.run(time.Second)
		for s := (&script{b}); len(s.b) > 0; {
			switch op := s.byte() % 8; op {
			case 0:
				honest(t, w, a, o, toB(60))
			case 1:
				honest(t, w, o, a, toA(60))
			case 2:
				w.run(time.Duration(s.byte()) * time.Second)
			case 7:
				strange(t, w, a, o, s, s.bytes(int(s.byte())))
			default:
				heard := w.Eve.Heard[int(s.byte())%len(w.Eve.Heard)].Data
				strange(t, w, a, o, s, changed(s, op, heard))
			}
		}
		w.run(200 * time.Second)
		honest(t, w, a, o, toB(60))
		honest(t, w, o, a, toA(60))
		w.Eve.NeverSeesANonceTwice(t)
		w.Eve.SeesOneHandshakePer(t, rekeyTimeout)
	})
}

// changed returns d with the change that op stands for.
func changed(s *script, op byte, d []byte) []byte {
	d = bytes.Clone(d)
	switch op {
	case 4:
		if i := int(s.byte()); len(d) > 0 {
			d[i%len(d)] ^= s.byte()
		}
	case 5:
		d = d[:int(s.byte())%(len(d)+1)]
	case 6:
		d = append(d, s.bytes(int(s.byte()))...)
	}
	return d
}

// honest sends a packet, which has to come.
func honest(t *testing.T, w *world, from, to *node, pkt []byte) {
	t.Helper()
	to.got = nil
	from.send(pkt)
	w.run(100 * time.Millisecond) // a new session takes three ways of 10 ms
	w.mustGet(to, pkt)
	from.got = nil
}

// strange sends a datagram to one of the two, from one of three places, and
// wants nothing to come of it.
func strange(t *testing.T, w *world, a, o *node, s *script, d []byte) {
	t.Helper()
	w.run(50 * time.Millisecond) // what is in the air comes down
	where := s.byte()
	to := []*node{a, o}[where%2]
	from := []netip.AddrPort{outsideA, outsideB, netip.MustParseAddrPort("203.0.113.9:9")}[where/2%3]
	heard, indices := len(w.Eve.Heard), [2]int{len(a.core.index.m), len(o.core.index.m)}
	a.got, o.got = nil, nil
	delay := w.Weather.Delay
	w.Weather.Delay = 0
	w.fly(from, to.Addr(), d, where)
	w.run(0)
	w.Weather.Delay = delay
	switch {
	case len(w.Eve.Heard) != heard+1:
		t.Fatalf("%x was answered", d)
	case len(a.got)+len(o.got) > 0:
		t.Fatalf("%x came out of the tunnel", d)
	case indices != [2]int{len(a.core.index.m), len(o.core.index.m)} || len(to.core.sources.full) > 0:
		t.Fatalf("%x is remembered", d)
	}
	w.Eve.Heard = w.Eve.Heard[:heard]
}

// Engines that run, with their goroutines, and a stranger who sends them
// datagrams: no panic, no answer, and the next packet comes.
func FuzzALiveEngineIsSilentToStrangers(f *testing.F) {
	network := wgtest.NewNetwork(1)
	strangers := netip.MustParseAddrPort("203.0.113.9:9")
	stranger := network.Listen(strangers)
	keyA, keyB := NewPrivateKey(), NewPrivateKey() // what another process recorded is nobody's
	pipeA, pipeB := wgtest.NewPipe(1420), wgtest.NewPipe(1420)
	var answers atomic.Int32
	// Something with a right mac1 was sent again: under load, which a fuzzer is, a
	// cookie answers it (§5.3).
	var replayed atomic.Bool
	var mu sync.Mutex // guards recorded
	var recorded [][]byte
	network.Tap(func(_, to netip.AddrPort, d []byte) {
		if to == strangers && (!replayed.Load() || messageType(d) != typeCookie) {
			answers.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(recorded) < 8 {
			recorded = append(recorded, bytes.Clone(d))
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var engines []*Engine
	var ended []chan error
	for _, cfg := range []Config{
		{PrivateKey: keyA, Device: pipeA, Transport: network.Listen(outsideA), Peers: []Peer{{
			PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}},
		{PrivateKey: keyB, Device: pipeB, Transport: network.Listen(outsideB), Peers: []Peer{{
			PublicKey: keyA.Public(), AllowedIPs: allowed(insideA), Endpoint: endpointAt(outsideA)}}},
	} {
		e, err := New(cfg)
		if err != nil {
			f.Fatal(err)
		}
		c := make(chan error, 1)
		go func() { c <- e.Run(ctx) }()
		engines, ended = append(engines, e), append(ended, c)
	}
	f.Cleanup(func() {
		cancel()
		for _, c := range ended {
			if err := <-c; err != nil {
				f.Error(err)
			}
		}
	})
	up, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for _, e := range engines {
		if err := e.Ready(up); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(make([]byte, 148), byte(0), byte(1), uint16(0))
	f.Add([]byte{4, 0, 0, 0}, byte(0x80), byte(0), uint16(0))
	f.Add([]byte{}, byte(0x81), byte(0x80), uint16(132))
	f.Fuzz(func(t *testing.T, b []byte, pick, change byte, at uint16) {
		if len(b) > 2000 {
			return
		}
		d := bytes.Clone(b)
		if pick >= 0x80 { // what was heard when the two met
			mu.Lock()
			d = bytes.Clone(recorded[int(pick)%len(recorded)])
			mu.Unlock()
			beyond := change == 0 || int(at)%max(len(d), 1) >= len(d)-16 // of mac1
			replayed.Store(replayed.Load() || beyond)
		}
		if len(d) > 0 {
			d[int(at)%len(d)] ^= change
		}
		stranger.Send(d, outsideA, change)
		stranger.Send(d, outsideB, change)
		stranger.Send(d[:min(len(d), int(at))], outsideB, 0)
		stranger.Send(b, outsideB, 0)
		wait, stop := context.WithTimeout(ctx, 30*time.Second)
		defer stop()
		pipeA.Send(toB(60))
		pipeB.Send(toA(60))
		if !bytes.Equal(pipeB.Receive(wait), toB(60)) || !bytes.Equal(pipeA.Receive(wait), toA(60)) {
			t.Fatalf("after %x packets do not come", d)
		}
		if n := answers.Load(); n != 0 {
			t.Fatalf("%x got %d answers", d, n)
		}
	})
}
