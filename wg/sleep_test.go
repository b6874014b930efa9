package wg

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"adit/wg/wgtest"
)

// A sleepyClock is a clock of a machine that can be put to sleep: time goes on
// and no timer fires, as with CLOCK_BOOTTIME and a timerfd on it.
type sleepyClock struct {
	*goClock
	woken chan struct{}

	mu    sync.Mutex // guards what follows
	slept time.Duration
	due   Instant
}

func (c *sleepyClock) now() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goClock.now().after(c.slept)
}

func (c *sleepyClock) arm(at Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = at
	c.goClock.arm(at - Instant(c.slept))
}

func (c *sleepyClock) watchSleep(slept func()) {
	for range c.woken {
		slept()
	}
}

func (c *sleepyClock) close() {
	c.goClock.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.woken != nil {
		close(c.woken)
		c.woken = nil
	}
}

// sleep puts the machine to sleep for d and wakes it.
func (c *sleepyClock) sleep(d time.Duration) {
	c.mu.Lock()
	c.slept += d
	due, woken := c.due, c.woken
	c.mu.Unlock()
	c.arm(due) // what came due meanwhile fires now
	woken <- struct{}{}
}

// Issue 3; device.c, wg_pm_notification: after a sleep of any length traffic is
// back within a round trip and 100 ms, and a new session is there.
func TestAfterASleepTrafficIsBackAtOnce(t *testing.T) {
	for _, asleep := range []time.Duration{
		2 * time.Second, time.Minute, 119 * time.Second, 170 * time.Second, 179 * time.Second,
		181 * time.Second, 10 * time.Minute, time.Hour, 7 * 24 * time.Hour,
	} {
		t.Run(asleep.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { sleepAndGoOn(t, asleep) }) })
	}
}

func sleepAndGoOn(t *testing.T, asleep time.Duration) {
	ctx := context.Background()
	network := wgtest.NewNetwork(1)
	keyA, keyB := NewPrivateKey(), NewPrivateKey()
	pipeA, pipeB := wgtest.NewPipe(1420), wgtest.NewPipe(1420)
	run := func(cfg Config, c clock) (*Engine, func()) {
		e, err := newEngine(cfg, c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		return e, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	clockA := &sleepyClock{goClock: newGoClock(), woken: make(chan struct{})}
	clockB := &sleepyClock{goClock: newGoClock(), woken: make(chan struct{})}
	_, stopB := run(Config{PrivateKey: keyB, Device: pipeB, Transport: network.Listen(outsideB), Peers: []Peer{
		{PublicKey: keyA.Public(), AllowedIPs: allowed(insideA)}}}, clockB)
	a, stopA := run(Config{PrivateKey: keyA, Device: pipeA, Transport: network.Listen(outsideA), Peers: []Peer{
		{PublicKey: keyB.Public(), AllowedIPs: allowed(insideB), Endpoint: endpointAt(outsideB)}}}, clockA)
	defer stopA()
	defer stopB()
	if err := a.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second) // virtual
	before := a.Status().Peers[0].LastHandshake

	// The peer's time goes on as well; nothing says so to it.
	clockB.mu.Lock()
	clockB.slept += asleep
	clockB.mu.Unlock()
	start := time.Now()
	clockA.sleep(asleep)
	pipeA.Send(toB(60))
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if pipeB.Receive(soon) == nil {
		t.Fatalf("no packet came within %v of waking", time.Since(start))
	}
	pipeB.Send(toA(60))
	if pipeA.Receive(soon) == nil {
		t.Fatalf("no answer came within %v of waking", time.Since(start))
	}
	synctest.Wait()
	if s := a.Status().Peers[0]; !s.LastHandshake.After(before) || !s.Up {
		t.Fatal("there was no new handshake")
	}
}
