package wg

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adit/packet"
	"adit/wg/wgtest"
)

// fakeEngine runs an Engine on the fake clock of a synctest bubble.
func fakeEngine(t *testing.T, cfg Config) (e *Engine, stop func() error) {
	t.Helper()
	e, err := newEngine(cfg, newGoClock())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return e, func() error { cancel(); return <-done }
}

// bubblePair runs two Engines in a bubble; f gets the first.
func bubblePair(t *testing.T, f func(t *testing.T, a *Engine, network *wgtest.Network, pipeA, pipeB *wgtest.Pipe), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		network := wgtest.NewNetwork(1)
		keyA, keyB := NewPrivateKey(), NewPrivateKey()
		pipeA, pipeB := wgtest.NewPipe(1420), wgtest.NewPipe(1420)
		cfg := Config{PrivateKey: keyA, Device: pipeA, Transport: network.Listen(outsideA), Peers: []Peer{
			{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}}
		for _, c := range change {
			c(&cfg)
		}
		_, stopB := fakeEngine(t, Config{PrivateKey: keyB, Device: pipeB, Transport: network.Listen(outsideB),
			Peers: []Peer{{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}})
		a, stopA := fakeEngine(t, cfg)
		f(t, a, network, pipeA, pipeB)
		for _, stop := range []func() error{stopA, stopB} {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestEnginesConnectWithoutTraffic(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, pipeA, pipeB *wgtest.Pipe) {
		if err := a.Ready(context.Background()); err != nil {
			t.Fatal(err)
		}
		s := a.Status()
		if len(s.Peers) != 1 || !s.Peers[0].Up || s.Peers[0].Endpoint != outsideB || s.Peers[0].Attempts != 0 {
			t.Fatalf("the status is %+v", s)
		}
		if !s.Peers[0].LastHandshake.Equal(time.Now()) {
			t.Fatalf("the last handshake was at %v, want now, %v", s.Peers[0].LastHandshake, time.Now())
		}
	})
}

// A gateTransport holds up the first batch of data until it is told to let go.
type gateTransport struct {
	Transport
	held, letGo chan struct{}
	passed      atomic.Bool
}

func (g *gateTransport) Write(b *packet.Batch) error {
	if messageType(b.Packet(0)) == typeData && !g.passed.Swap(true) {
		close(g.held)
		<-g.letGo
	}
	return g.Transport.Write(b)
}

// What waited for the session goes before what came when it was there, however
// long it takes to send.
func TestStagedPacketsAreNotOvertaken(t *testing.T) {
	var gate *gateTransport
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, pipeA, pipeB *wgtest.Pipe) {
		for size := 100; size < 103; size++ {
			pipeA.Send(toB(size))
		}
		<-gate.held
		pipeA.Send(toB(103))
		synctest.Wait()
		close(gate.letGo)
		for size := 100; size < 104; size++ {
			if got := len(pipeB.Receive(context.Background())); got != size {
				t.Errorf("got the packet of %d bytes, want that of %d", got, size)
			}
		}
	}, func(cfg *Config) {
		gate = &gateTransport{Transport: cfg.Transport, held: make(chan struct{}), letGo: make(chan struct{})}
		cfg.Transport, cfg.OnDemand = gate, true
	})
}

func TestTrafficGoesOnForHours(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, pipeA, pipeB *wgtest.Pipe) {
		for range 700 {
			pipeA.Send(toB(100))
			if pipeB.Receive(context.Background()) == nil {
				t.Fatal("a packet was lost")
			}
			pipeB.Send(toA(100))
			if pipeA.Receive(context.Background()) == nil {
				t.Fatal("a packet was lost on the way back")
			}
			time.Sleep(10 * time.Second) // virtual
		}
	})
}

// The one timer moves when an earlier deadline comes up.
func TestTheTimerMovesToEarlierDeadlines(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, network *wgtest.Network, pipeA, pipeB *wgtest.Pipe) {
		a.Ready(context.Background())
		time.Sleep(time.Minute) // the next deadline is the end of the session
		pipeB.Send(toA(100))
		pipeA.Receive(context.Background())
		var answer time.Time
		network.Tap(func(from, _ netip.AddrPort, _ []byte) {
			if from == outsideA {
				answer = time.Now()
			}
		})
		start := time.Now()
		time.Sleep(15 * time.Second)
		network.Tap(nil)
		if d := answer.Sub(start); d != keepaliveTimeout {
			t.Fatalf("the keepalive came after %v, want 10 s", d)
		}
	})
}

// After the keepalives of the last packets nothing happens any more: no timer
// fires for days, though keys are still forgotten in time.
func TestAnIdleEngineSleeps(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, network *wgtest.Network, pipeA, pipeB *wgtest.Pipe) {
		pipeA.Send(toB(100))
		pipeB.Receive(context.Background())
		time.Sleep(time.Minute)
		sent := 0
		network.Tap(func(_, _ netip.AddrPort, _ []byte) { sent++ })
		time.Sleep(time.Hour)
		if armed := a.armed.Load(); armed != 0 {
			t.Errorf("the timer is armed for %v from now", time.Duration(armed)-time.Duration(a.clock.now()))
		}
		time.Sleep(48 * time.Hour)
		network.Tap(nil)
		if sent != 0 {
			t.Errorf("%d datagrams were sent", sent)
		}
		if a.Status().Peers[0].Up {
			t.Error("the session is still up")
		}
		pipeA.Send(toB(60)) // and it wakes up
		if pipeB.Receive(context.Background()) == nil {
			t.Error("no packet after the long sleep")
		}
	})
}

func TestEventsTellTheStory(t *testing.T) {
	var mu sync.Mutex
	var kinds []EventKind
	bubblePair(t, func(t *testing.T, a *Engine, network *wgtest.Network, pipeA, _ *wgtest.Pipe) {
		cancel := a.Subscribe(func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(kinds, e.Kind) {
				kinds = append(kinds, e.Kind)
			}
		})
		a.Ready(context.Background())
		synctest.Wait()
		network.SetFaults(wgtest.Faults{Lose: 1})
		pipeA.Send(toB(60))
		time.Sleep(5 * time.Minute)
		cancel()
		network.SetFaults(wgtest.Faults{})
		a.NetworkChanged(nil)
		time.Sleep(time.Minute)
	}, func(c *Config) {
		c.Peers[0].Endpoint.Host = "gate.example"
		c.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{outsideB.Addr()}, nil
		}
	})
	// Started and resolved come on two goroutines; all else in this order.
	want := []EventKind{Resolved, HandshakeStarted, EndpointChanged, SessionUp, HandshakeGaveUp, SessionExpired}
	for _, k := range want {
		if !slices.Contains(kinds, k) {
			t.Errorf("there was no event %q", k)
		}
	}
}

func TestReadyEndsWithItsContext(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, network *wgtest.Network, _, _ *wgtest.Pipe) {
		network.SetFaults(wgtest.Faults{Lose: 1})
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := a.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Ready returned %v", err)
		}
		if n := a.Status().Peers[0].Attempts; n != 3 {
			t.Fatalf("%d attempts in 15 s, want 3", n)
		}
	}, func(c *Config) {
		c.Transport.(*wgtest.Transport).Move(netip.MustParseAddrPort("192.0.2.77:7"))
		c.Peers[0].Endpoint.Port++
	})
}

func TestANameIsResolvedByTheGivenResolver(t *testing.T) {
	asked := 0
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, _, _ *wgtest.Pipe) {
		if err := a.Ready(context.Background()); err != nil {
			t.Fatal(err)
		}
		if asked != 3 {
			t.Fatalf("asked %d times, want 3: two failures and a success", asked)
		}
	}, func(c *Config) {
		c.Peers[0].Endpoint.Host = "gate.example"
		c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if asked++; asked < 3 || host != "gate.example" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{outsideB.Addr()}, nil
		}
	})
}

// A Resolve that hangs does not keep Run from returning.
func TestRunDoesNotWaitForNames(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, _, _ *wgtest.Pipe) {
		time.Sleep(time.Second)
	}, func(c *Config) {
		c.Peers[0].Endpoint.Host = "gate.example"
		c.Resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
}

func TestTimestampsAreSaved(t *testing.T) {
	var last timestamp
	first := newTimestamp(time.Now().Add(time.Hour), timestamp{}) // a run with a fast clock
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, _, _ *wgtest.Pipe) {
		a.Ready(context.Background())
		synctest.Wait()
		if !last.later(first) {
			t.Errorf("saved %x, want later than %x", last, first)
		}
	}, func(c *Config) {
		first = newTimestamp(time.Now().Add(time.Hour), timestamp{}) // bubbles have a time of their own
		c.LastTimestamp = first
		c.SaveTimestamp = func(ts [12]byte) { last = ts }
	})
}

// device.c, wg_xmit: the program is told at once, by whoever reads its packets.
func TestTheDeviceIsToldWhatIsUnreachable(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, pipeA, _ *wgtest.Pipe) {
		for i := range 3 {
			pipeA.Send(wgtest.UDP(insideA, netip.MustParseAddrPort("10.7.7.7:7"), 60+i, nil))
			answer := pipeA.Receive(context.Background())
			if len(answer) != 28+60+i || answer[20] != 3 || answer[21] != 1 {
				t.Fatalf("answer %d is %x, want host unreachable", i, answer)
			}
		}
		synctest.Wait()
		quiet, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if extra := pipeA.Receive(quiet); extra != nil {
			t.Fatalf("one answer too many: %x", extra)
		}
	})
}

func TestSetPeersWhileRunning(t *testing.T) {
	bubblePair(t, func(t *testing.T, a *Engine, _ *wgtest.Network, pipeA, pipeB *wgtest.Pipe) {
		ctx := context.Background()
		a.Ready(ctx)
		peers := []Peer{{PublicKey: a.Status().Peers[0].PublicKey, AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB), Keepalive: time.Second}}
		if err := a.SetPeers(peers); err != nil {
			t.Fatal(err)
		}
		pipeA.Send(toB(60))
		if pipeB.Receive(ctx) == nil {
			t.Fatal("no packet after SetPeers")
		}
		before := a.Status().Peers[0].TxBytes
		time.Sleep(10 * time.Second)
		if sent := a.Status().Peers[0].TxBytes - before; sent < 8*minDataLen {
			t.Fatalf("%d bytes in ten seconds, want ten keepalives", sent)
		}
		if err := a.SetPeers(nil); err != nil {
			t.Fatal(err)
		}
		if n := len(a.Status().Peers); n != 0 {
			t.Fatalf("%d peers are left", n)
		}
	})
}

// A failing Device or Transport ends Run with its error; both are closed.
func TestFatalErrorsEndRun(t *testing.T) {
	boom := errors.New("boom")
	for name, cfg := range map[string]func(*Config, *failing){
		"device read":    func(c *Config, f *failing) { f.Device = c.Device; c.Device = f },
		"transport read": func(c *Config, f *failing) { f.Transport = c.Transport; c.Transport = failingTransport{f} },
	} {
		t.Run(name, func(t *testing.T) {
			network := wgtest.NewNetwork(1)
			pipe, tr := wgtest.NewPipe(1420), network.Listen(outsideA)
			c := Config{PrivateKey: NewPrivateKey(), Device: pipe, Transport: tr}
			cfg(&c, &failing{err: boom})
			e, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Run(testContext(t)); !errors.Is(err, boom) {
				t.Fatalf("Run returned %v", err)
			}
			if err := e.Ready(testContext(t)); !errors.Is(err, boom) {
				t.Fatalf("Ready returned %v", err)
			}
			if pipe.Send(nil) || tr.Write(packet.NewBatch(packet.Room{})) == nil {
				t.Fatal("something is still open")
			}
			if err := e.SetPeers(nil); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("SetPeers returned %v", err)
			}
			if err := e.Run(testContext(t)); err == nil {
				t.Fatal("Run ran twice")
			}
		})
	}
}

// A send error is a loss, and a reason to let the kernel choose our address
// anew; the tunnel goes on.
func TestSendErrorsAreNotFatal(t *testing.T) {
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	tr := &moodyTransport{Transport: network.Listen(outsideA)}
	pipeB := wgtest.NewPipe(1420)
	a := runEngine(t, Config{PrivateKey: keyA, Device: wgtest.NewPipe(1420), Transport: tr, Peers: []Peer{
		{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}})
	runEngine(t, Config{PrivateKey: keyB, Device: pipeB, Transport: network.Listen(outsideB), Peers: []Peer{
		{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}})
	if err := a.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	send := func() {
		b := packet.NewBatch(Room(1420))
		copy(b.Append(60), toB(60))
		a.Outbound(b)
	}
	tr.bad.Store(true)
	send()
	for _, p := range a.core.roster.Load().byKey {
		if p.path.Load().Local.IsValid() {
			t.Error("the source address is still kept")
		}
	}
	if n := a.Status().Drops.SendFailed; n == 0 {
		t.Error("the failure was not counted")
	}
	tr.bad.Store(false)
	send()
	if pipeB.Receive(testContext(t)) == nil {
		t.Fatal("the tunnel did not go on")
	}
}

type moodyTransport struct {
	Transport
	bad atomic.Bool
}

func (m *moodyTransport) Write(b *packet.Batch) error {
	if m.bad.Load() {
		return errors.New("no buffer space available")
	}
	return m.Transport.Write(b)
}

type failing struct {
	packet.Device
	Transport Transport
	err       error
}

func (f *failing) Read(*packet.Batch) error { return f.err }

type failingTransport struct{ f *failing }

func (t failingTransport) Read(*packet.Batch) error    { return t.f.err }
func (t failingTransport) Write(b *packet.Batch) error { return t.f.Transport.Write(b) }
func (t failingTransport) Overhead() int               { return 0 }
func (t failingTransport) Close() error                { return t.f.Transport.Close() }

// What New was given it closes, also when it fails.
func TestNewClosesWhatItWasGivenWhenItFails(t *testing.T) {
	network := wgtest.NewNetwork(1)
	for name, change := range map[string]func(*Config){
		"bad peer": func(c *Config) { c.Peers = []Peer{{Keepalive: -1}} },
	} {
		pipe, tr := wgtest.NewPipe(1420), network.Listen(outsideA)
		c := Config{PrivateKey: NewPrivateKey(), Device: pipe, Transport: tr}
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if pipe.Send(nil) || tr.Write(packet.NewBatch(packet.Room{})) == nil {
			t.Errorf("%s: something is still open", name)
		}
	}
}

// Everything at once, for the race detector: packets from several goroutines,
// both ways, while peers, addresses and the network change.
func TestConcurrentUse(t *testing.T) {
	ctx := testContext(t)
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	ofB := Peer{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}
	pipeB := wgtest.NewPipe(1420)
	trA := network.Listen(outsideA)
	a := runEngine(t, Config{PrivateKey: keyA, Device: wgtest.NewPipe(1420), Transport: trA, Peers: []Peer{ofB}})
	b := runEngine(t, Config{PrivateKey: keyB, Device: pipeB, Transport: network.Listen(outsideB), Peers: []Peer{
		{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}})
	if err := a.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			batch := packet.NewBatch(Room(1420))
			for range 200 {
				batch.Reset()
				for range 10 {
					copy(batch.Append(200), toB(200))
				}
				a.Outbound(batch)
			}
		})
	}
	wg.Go(func() {
		for range 200 {
			pipeB.Send(toA(100))
		}
	})
	wg.Go(func() {
		for i := range 100 {
			changed := ofB
			changed.Keepalive = time.Duration(i%3) * time.Second
			changed.AllowedIPs = allowed(insideB, inside6B)[:1+i%2]
			if i%10 == 9 {
				if err := a.SetPeers(nil); err != nil {
					t.Error(err)
				}
			}
			if err := a.SetPeers([]Peer{changed}); err != nil {
				t.Error(err)
			}
			a.NetworkChanged(nil)
			a.Status()
			b.Status()
			trA.Move(netip.AddrPortFrom(outsideA.Addr(), uint16(3000+i)))
		}
	})
	wg.Wait()
}
