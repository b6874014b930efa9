package launcher

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/config"
	"adit/packet"
	"adit/wg"
	"adit/wg/wgtest"
)

// A brittle transport carries nothing, until it breaks for good.
type brittle struct {
	broken, closed chan struct{}
	once           sync.Once
}

var errBroken = errors.New("the socket broke")

func newBrittle() *brittle {
	return &brittle{broken: make(chan struct{}), closed: make(chan struct{})}
}

func (b *brittle) Read(*packet.Batch) error {
	select {
	case <-b.broken:
		return errBroken
	case <-b.closed:
		return net.ErrClosed
	}
}

func (b *brittle) Write(*packet.Batch) error { return nil }
func (b *brittle) Overhead() int             { return 0 }
func (b *brittle) Close() error              { b.once.Do(func() { close(b.closed) }); return nil }

// newTestTunnel returns a tunnel with one carrier, whose engine runs between
// device and transport and shakes hands with nobody.
func newTestTunnel(t *testing.T, device packet.Device, transport wg.Transport) *tunnel {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	cfg := &config.Config{
		PrivateKey: wg.NewPrivateKey(),
		Addresses:  prefixes("10.9.0.2/32"),
		Peers: []config.Peer{{
			PublicKey: wg.NewPrivateKey().Public(), AllowedIPs: prefixes("0.0.0.0/0"),
			Endpoint: config.Endpoint{Host: "192.0.2.1", Port: 51820},
		}},
	}
	lock, err := lockKey(cfg.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	tun := &tunnel{e: newTestEngine(), cfg: cfg, start: time.Now(), timeout: time.Minute}
	t.Cleanup(func() { wantSoon(t, "the tunnel is closed", soon(func() { tun.Close() })) })
	c, err := newCarrier(tun, cfg, insideOf(cfg), 1420, device)
	if err != nil {
		t.Fatal(err)
	}
	tun.carriers = append(tun.carriers, c)
	tun.closers.add(c)
	under := &underlay{
		listen:  func() (wg.Transport, error) { return transport, nil },
		resolve: newResolver().lookup,
	}
	if err := c.start(under, lock, tun); err != nil {
		t.Fatal(err)
	}
	return tun
}

// The engine's end is heard by whoever waits for the tunnel, and by whoever
// closes it: the word of it once went to only one of them, and the other
// waited for ever.
func TestEngineThatEndsBeforeTheHandshakeIsHeardByAll(t *testing.T) {
	transport := newBrittle()
	tun := newTestTunnel(t, wgtest.NewPipe(1420), transport)
	waited := make(chan error, 1)
	go func() { waited <- tun.waitReady(t.Context()) }()
	close(transport.broken)
	select {
	case err := <-waited:
		var f *Error
		if !errors.As(err, &f) || f.Code != CodeFailed || !errors.Is(err, errBroken) {
			t.Errorf("waiting for the tunnel ends with %v, want a failure of ours because %v", err, errBroken)
		} else if !strings.HasPrefix(f.Error(), "run the tunnel: ") {
			t.Errorf("%q does not say what failed", f.Error())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the command still waits for a tunnel that has failed")
	}
	var failure error
	heard := soon(func() { failure = tun.failure(t.Context()) })
	wantSoon(t, "the failure is heard", heard)
	if !errors.Is(failure, errBroken) {
		t.Errorf("the failure afterwards is %v, want %v", failure, errBroken)
	}
	wantSoon(t, "the tunnel is closed", soon(func() { tun.Close() }))
}

func TestClosedTunnelEndsBothSeams(t *testing.T) {
	transport, device := newBrittle(), wgtest.NewPipe(1420)
	tun := newTestTunnel(t, device, transport)
	wantSoon(t, "the tunnel is closed", soon(func() { tun.Close() }))
	wantSoon(t, "the transport is closed", transport.closed)
	if device.Send([]byte{0}) {
		t.Error("the device is open")
	}
	if err := tun.carriers[0].err; err != nil {
		t.Errorf("an engine that was told to end ends with %v", err)
	}
}

func TestWaitIsGivenUpWithTheStart(t *testing.T) {
	tun := newTestTunnel(t, wgtest.NewPipe(1420), newBrittle())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tun.waitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestNoHandshakeInTimeIsNotReady(t *testing.T) {
	tun := newTestTunnel(t, wgtest.NewPipe(1420), newBrittle())
	tun.start = tun.start.Add(-tun.timeout) // its time is over
	var f *Error
	if err := tun.waitReady(t.Context()); !errors.As(err, &f) || f.Code != CodeNotReady {
		t.Errorf("got %v, want status %d", err, CodeNotReady)
	}
	tun.cfg.Options.Wait.Kind = config.WaitNone
	if err := tun.waitReady(t.Context()); err != nil {
		t.Errorf("--wait none waited: %v", err)
	}
}

// A transport that cannot be opened leaves a carrier that can be closed.
func TestCarrierThatCannotStartIsClosed(t *testing.T) {
	cfg := &config.Config{PrivateKey: wg.NewPrivateKey(), Addresses: prefixes("10.9.0.2/32")}
	tun := &tunnel{e: newTestEngine(), cfg: cfg}
	device := wgtest.NewPipe(1420)
	c, err := newCarrier(tun, cfg, insideOf(cfg), 1420, device)
	if err != nil {
		t.Fatal(err)
	}
	under := &underlay{listen: func() (wg.Transport, error) { return nil, errBroken }}
	if err := c.start(under, nil, tun); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	wantSoon(t, "the carrier is closed", soon(func() { c.Close() }))
	if device.Send([]byte{0}) {
		t.Error("the device is open")
	}
}

// bareTunnel returns a tunnel of n carriers without engines: what is to be said
// of an engine's end, the test says.
func bareTunnel(n int) *tunnel {
	tun := new(tunnel)
	for range n {
		tun.carriers = append(tun.carriers, &carrier{ended: make(chan struct{})})
	}
	return tun
}

func (c *carrier) endBecause(err error) {
	c.err = err
	close(c.ended)
}

func TestFailureOfAnyCarrierIsTheTunnels(t *testing.T) {
	for i := range 3 {
		tun := bareTunnel(3)
		var got error
		heard := soon(func() { got = tun.failure(t.Context()) })
		tun.carriers[i].endBecause(errBroken)
		wantSoon(t, "the failure is heard", heard)
		if got != errBroken {
			t.Errorf("carrier %d: got %v, want %v", i, got, errBroken)
		}
	}
}

func TestNoFailureAfterTheCommandsEnd(t *testing.T) {
	tun := bareTunnel(2)
	ctx, cancel := context.WithCancel(t.Context())
	got := errBroken
	heard := soon(func() { got = tun.failure(ctx) })
	cancel()
	wantSoon(t, "the wait is over", heard)
	if got != nil {
		t.Errorf("got %v, want none", got)
	}
}
