package device

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"adit/packet"
)

// A gate is the interface as the engine reads it. The kernel gives packets as
// soon as the interface is up, and the news of that come a moment later, when
// the engine has peers again: meanwhile packets wait, which they need not in
// Linux, where both are one (device.c, wg_open). Without it the first packets
// would be answered with "unreachable".
type gate struct {
	packet.Device
	open atomic.Bool

	mu      sync.Mutex // guards closed, and changes of open
	changed *sync.Cond // open or closed
	closed  bool
}

// tooLate is how long packets may wait at a gate: those of longer ago are of an
// interface that went down behind them.
const tooLate = time.Second

func newGate(d packet.Device) *gate {
	g := &gate{Device: d}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// set opens the gate, or shuts it.
func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open.Store(open)
	g.changed.Broadcast()
}

// Read reads packets when the gate is open. See packet.Device.
func (g *gate) Read(b *packet.Batch) error {
	for {
		if err := g.Device.Read(b); err != nil || g.open.Load() {
			return err
		}
		begin := time.Now()
		if !g.wait() {
			return net.ErrClosed
		}
		if time.Since(begin) < tooLate {
			return nil
		}
	}
}

// wait waits until the gate is open. It returns false if it is closed for good.
func (g *gate) wait() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.closed && !g.open.Load() {
		g.changed.Wait()
	}
	return !g.closed
}

// Close closes the gate for good, and the interface. See packet.Device.
func (g *gate) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Broadcast()
	g.mu.Unlock()
	return g.Device.Close()
}
