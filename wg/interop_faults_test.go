package wg

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"adit/wg/wgtest"
)

// A goTunnel is an Engine and wireguard-go, one at each end.
type goTunnel struct {
	ctx        context.Context
	network    *wgtest.Network
	engine     *Engine
	pipe       *wgtest.Pipe
	tr         *wgtest.Transport
	peer       *goPeer
	keyA, keyB PrivateKey
	psk        PresharedKey
	numbers    uint32 // of packets that transfer has used
}

// newGoTunnel returns a tunnel that the Engine begins, or, if not initiator,
// wireguard-go.
func newGoTunnel(t *testing.T, initiator bool, psk PresharedKey) *goTunnel {
	g := &goTunnel{
		ctx: testContext(t), network: wgtest.NewNetwork(1), pipe: wgtest.NewPipe(1420),
		keyA: NewPrivateKey(), keyB: NewPrivateKey(), psk: psk,
	}
	ofB := Peer{PublicKey: g.keyB.Public(), PresharedKey: psk, AllowedIPs: allowed(insideB, inside6B)}
	if initiator {
		ofB.Endpoint = endpointAt(outsideB)
	}
	g.startPeer(t, !initiator)
	g.tr = g.network.Listen(outsideA)
	g.engine = runEngine(t, Config{PrivateKey: g.keyA, Device: g.pipe, Transport: g.tr, Peers: []Peer{ofB}})
	return g
}

func (g *goTunnel) startPeer(t *testing.T, knowsUs bool) {
	ofA := Peer{PublicKey: g.keyA.Public(), PresharedKey: g.psk, AllowedIPs: allowed(insideA, inside6A)}
	if knowsUs {
		ofA.Endpoint = endpointAt(outsideA)
	}
	g.peer = newGoPeer(t, g.network.Listen(outsideB), g.keyB, ofA)
	tr := g.peer.tr
	t.Cleanup(func() { tr.Close() })
}

// echo sends back whatever reaches wireguard-go, until ctx ends.
func (g *goTunnel) echo(ctx context.Context, peer *goPeer) {
	for {
		select {
		case pkt := <-peer.tun.Inbound:
			back := append([]byte(nil), pkt...)
			copy(back[12:16], pkt[16:20])
			copy(back[16:20], pkt[12:16])
			select {
			case peer.tun.Outbound <- back:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// transfer sends n packets and sends again what did not come back, until all
// has, and calls between after each round.
func (g *goTunnel) transfer(t *testing.T, n int, between func(round, missing int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	go g.echo(ctx, g.peer)
	first := g.numbers
	g.numbers += uint32(n)
	back := map[uint32]int{}
	sent := map[uint32]int{}
	for round := 0; len(back) < n; round++ {
		if g.ctx.Err() != nil {
			t.Fatalf("%d packets of %d came back", len(back), n)
		}
		inFlight := 0
		for i := range uint32(n) {
			if back[i] > 0 {
				continue
			}
			g.pipe.Send(wgtest.UDP(insideA, insideB, 36+int(i)%1380, binary.BigEndian.AppendUint32(nil, first+i)))
			sent[i]++
			if inFlight++; inFlight == 64 {
				break
			}
		}
		for range inFlight {
			quiet, stop := context.WithTimeout(g.ctx, 30*time.Millisecond)
			pkt := g.pipe.Receive(quiet)
			stop()
			if pkt == nil {
				break
			}
			i := binary.BigEndian.Uint32(pkt[28:]) - first
			if i >= uint32(n) {
				continue // not of this transfer: what was late in the one before
			}
			if len(pkt) != 36+int(i)%1380 {
				t.Fatalf("packet %d came back with %d bytes", i, len(pkt))
			}
			if back[i]++; back[i] > sent[i] {
				t.Fatalf("packet %d was sent %d times and came back %d times", i, sent[i], back[i])
			}
		}
		if between != nil {
			between(round, n-len(back))
		}
	}
}

func TestWireGuardGoBegins(t *testing.T) {
	for _, psk := range []PresharedKey{{}, NewPresharedKey()} {
		g := newGoTunnel(t, false, psk)
		first := wgtest.UDP(insideB, insideA, 64, []byte("first"))
		g.peer.tun.Outbound <- first
		if got := g.pipe.Receive(g.ctx); string(got) != string(first) {
			t.Fatalf("got %x, want %x", got, first)
		}
		g.transfer(t, 300, nil)
	}
}

func TestTransferOverABadNetwork(t *testing.T) {
	for name, faults := range map[string]wgtest.Faults{
		"1 percent":  {Lose: 0.01, Duplicate: 0.01, Reorder: 0.01},
		"10 percent": {Lose: 0.1, Duplicate: 0.1, Reorder: 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGoTunnel(t, true, PresharedKey{})
			if err := g.engine.Ready(g.ctx); err != nil {
				t.Fatal(err)
			}
			g.network.SetFaults(faults)
			g.transfer(t, 1500, nil)
		})
	}
}

func TestPortsChangeDuringATransfer(t *testing.T) {
	g := newGoTunnel(t, true, PresharedKey{})
	if err := g.engine.Ready(g.ctx); err != nil {
		t.Fatal(err)
	}
	g.transfer(t, 600, func(round, _ int) {
		if round == 3 { // ours: wireguard-go follows what comes from us
			g.tr.Move(netip.MustParseAddrPort("192.0.2.1:2001"))
		}
	})
	g.transfer(t, 600, func(round, _ int) {
		if round == 2 { // theirs: we follow what comes from them
			g.peer.tr.Move(netip.MustParseAddrPort("[2001:db8::2]:2002"))
			g.peer.tun.Outbound <- wgtest.UDP(insideB, insideA, 36, []byte{255, 255, 255, 255})
		}
	})
	if got := g.engine.Status().Peers[0].Endpoint.Port(); got != 2002 {
		t.Fatalf("the peer is thought to be at port %d", got)
	}
}

func TestARestartedWireGuardGoComesBack(t *testing.T) {
	g := newGoTunnel(t, true, NewPresharedKey())
	if err := g.engine.Ready(g.ctx); err != nil {
		t.Fatal(err)
	}
	g.transfer(t, 100, nil)
	g.peer.tr.Close()
	g.peer.dev.Close()
	g.startPeer(t, true)
	again := wgtest.UDP(insideB, insideA, 64, []byte("again"))
	g.peer.tun.Outbound <- again // it shakes hands with us, though we have a session
	got := g.pipe.Receive(g.ctx)
	for got != nil && binary.BigEndian.Uint32(got[28:]) < g.numbers {
		got = g.pipe.Receive(g.ctx) // what was late in the transfer
	}
	if string(got) != string(again) {
		t.Fatalf("got %x, want %x", got, again)
	}
	g.transfer(t, 100, nil)
}

// Two programs with one key, one after the other, as fast as can be: the second
// is not taken for a replay of the first.
func TestARestartedEngineComesBack(t *testing.T) {
	ctx := testContext(t)
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	peer := newGoPeer(t, network.Listen(outsideB), keyB, Peer{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)})
	t.Cleanup(func() { peer.tr.Close() })
	var last [12]byte
	for i := range 3 {
		e, err := New(Config{
			PrivateKey: keyA, Device: wgtest.NewPipe(1420), Transport: network.Listen(outsideA),
			LastTimestamp: last, SaveTimestamp: func(ts [12]byte) { last = ts },
			Peers: []Peer{{PublicKey: keyB.Public(), Endpoint: endpointAt(outsideB), AllowedIPs: allowed(insideB)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- e.Run(run) }()
		quick, cancel := context.WithTimeout(ctx, 3*time.Second)
		if err := e.Ready(quick); err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		cancel()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
