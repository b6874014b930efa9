package wg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"adit/packet"
)

// A Config is what an Engine is made of.
type Config struct {
	PrivateKey PrivateKey    // zero: nothing is sent or answered until SetPrivateKey
	Peers      []Peer        // those with a low-order key are never spoken to
	Device     packet.Device // packets in clear. The Engine closes it
	Transport  Transport     // sealed datagrams. The Engine closes it

	// OnDemand says that handshakes wait for a packet to the peer or for its
	// persistent keepalive, and are tried every five seconds and no sooner, as
	// those of the kernel. If false, peers that have an endpoint are shaken
	// hands with as soon as that is known: the first packet need not wait.
	OnDemand bool

	// Resolve returns the addresses of an endpoint's name. If nil, the host's
	// resolver is asked.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// LastTimestamp is what SaveTimestamp was last given for this private key:
	// initiations are strictly later, so that a clock that was set back does
	// not make them replays. If zero, the clock is believed.
	LastTimestamp [12]byte
	// SaveTimestamp, if not nil, is called after each initiation, one call at
	// a time, never on the way of a packet. It should return soon.
	SaveTimestamp func([12]byte)

	Logger *slog.Logger // if nil, nothing is logged
}

// An Engine is a WireGuard endpoint between a Device and a Transport. Its
// methods are safe for concurrent use.
type Engine struct {
	core    *core
	dev     packet.Device
	tr      Transport
	resolve func(context.Context, string) ([]netip.Addr, error)
	save    func([12]byte)
	log     *slog.Logger
	clock   clock
	pool    sync.Pool // of *packet.Batch, for what the core sends by itself

	setMu   sync.Mutex // one SetPeers or SetPrivateKey at a time; guards running
	running bool

	timerMu sync.Mutex   // guards arming, with armed read outside as a hint
	armed   atomic.Int64 // what the timer is armed for; 0: nothing

	ready     chan struct{} // closed when there is a session for the first time
	readyOnce sync.Once
	done      chan struct{} // closed when Run returns
	err       error         // of Run; to be read after done

	flushMu sync.Mutex // of flushed
	flushed *sync.Cond // core.flushing was cleared

	lookups sync.WaitGroup
	lookupC context.Context // ends when Run does; set by Run under setMu

	subMu sync.Mutex // guards subs, which is replaced, not changed
	subs  []*subscriber
}

// New returns an Engine that does nothing yet. Device and Transport are the
// Engine's from now on: they are closed when New fails or Run returns. To give
// up an Engine that was never run, Run it with a context that has ended.
func New(cfg Config) (*Engine, error) {
	e, err := newEngine(cfg, newClock())
	if err != nil {
		if cfg.Device != nil {
			cfg.Device.Close()
		}
		if cfg.Transport != nil {
			cfg.Transport.Close()
		}
		return nil, err
	}
	return e, nil
}

func newEngine(cfg Config, clk clock) (*Engine, error) {
	e := &Engine{
		dev: cfg.Device, tr: cfg.Transport, resolve: cfg.Resolve, save: cfg.SaveTimestamp,
		log: cfg.Logger, clock: clk, ready: make(chan struct{}), done: make(chan struct{}),
	}
	switch {
	case e.dev == nil || e.tr == nil:
		clk.close()
		return nil, errors.New("the engine needs a device and a transport")
	}
	if e.resolve == nil {
		e.resolve = hostResolver
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.flushed = sync.NewCond(&e.flushMu)
	e.pool.New = func() any { return packet.NewBatch(e.room()) }
	e.core = newCore(cfg.PrivateKey,
		func(b []byte) { rand.Read(b) },
		func(Instant) time.Time { return time.Now() })
	e.core.lastStamp = cfg.LastTimestamp
	e.core.onDemand = cfg.OnDemand
	out := e.newOutput()
	if err := e.core.setPeers(clk.now(), cfg.Peers, false, out); err != nil {
		e.core.close()
		clk.close()
		return nil, err
	}
	return e, nil
}

// room is asked for before each batch: the device's MTU may change at any time.
func (e *Engine) room() packet.Room { return Room(e.dev.MTU()) }

func (e *Engine) newOutput() *output { return &output{pool: &e.pool, room: e.room()} }

// Run shakes hands with every peer that has an endpoint, but see OnDemand, and
// carries packets until ctx ends (then it returns nil) or the Device or the
// Transport fails. It closes both and forgets all keys before it returns. It is
// called once.
//
// It has four goroutines: outbound (Device → seal → Transport), inbound
// (Transport → open → Device), timers (sleeps until the earliest deadline) and
// one that waits for the machine to wake from sleep; a name that is being
// resolved has one more. With no traffic and no keepalive all of them sleep.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.setMu.Lock()
	if e.lookupC != nil {
		e.setMu.Unlock()
		return errors.New("the engine was run before")
	}
	e.lookupC, e.running = ctx, true
	e.core.connect(e.clock.now())
	e.setMu.Unlock()

	stop := context.AfterFunc(ctx, func() {
		e.dev.Close()
		e.tr.Close()
		e.clock.close()
	})
	defer stop()
	var fatal error
	var once sync.Once
	fail := func(err error) {
		if ctx.Err() == nil {
			once.Do(func() { fatal = err })
		}
		cancel(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { fail(e.pumpOutbound()) })
	wg.Go(func() { fail(e.pumpInbound()) })
	wg.Go(e.runTimers)
	wg.Go(func() { e.clock.watchSleep(e.slept) })
	e.rearm()
	wg.Wait()

	e.setMu.Lock()
	e.running = false
	e.setMu.Unlock()
	e.lookups.Wait()
	e.setMu.Lock()
	e.core.close()
	e.setMu.Unlock()
	e.err = fatal
	close(e.done)
	return fatal
}

// pumpOutbound carries packets from the Device into the tunnel.
func (e *Engine) pumpOutbound() error {
	b := packet.NewBatch(e.room())
	r := &rejects{batch: packet.NewBatch(packet.Room{})}
	for {
		b.SetRoom(e.room())
		if err := e.dev.Read(b); err != nil {
			return fmt.Errorf("read device: %w", err)
		}
		now := e.clock.now()
		r.now = now
		e.core.seal(now, b, r)
		e.awaitFlush()
		e.write(b)
		e.rearm()
		if r.batch.Len() > 0 {
			if err := e.dev.Write(r.batch); err != nil {
				return fmt.Errorf("write device: %w", err)
			}
			r.batch.Reset()
		}
	}
}

// pumpInbound carries datagrams from the tunnel to the Device.
func (e *Engine) pumpInbound() error {
	b := packet.NewBatch(packet.Room{})
	out := e.newOutput()
	for {
		if err := e.tr.Read(b); err != nil {
			return fmt.Errorf("read transport: %w", err)
		}
		out.room = e.room()
		e.core.receive(e.clock.now(), b, out)
		e.deliver(out)
		e.rearm()
		if !hasPackets(b) {
			continue
		}
		if err := e.dev.Write(b); err != nil {
			return fmt.Errorf("write device: %w", err)
		}
	}
}

// runTimers does what is due, when it is due.
func (e *Engine) runTimers() {
	out := e.newOutput()
	for e.clock.wait() {
		e.timerMu.Lock()
		e.armed.Store(0)
		e.timerMu.Unlock()
		out.room = e.room()
		e.core.advance(e.clock.now(), out)
		e.deliver(out)
		e.rearm()
	}
}

// rearm sets the timer to the core's earliest deadline, if that is earlier than
// what it is set to. Most calls are two loads.
func (e *Engine) rearm() {
	at := int64(e.core.next())
	if armed := e.armed.Load(); at == 0 || armed != 0 && armed <= at {
		return
	}
	e.timerMu.Lock()
	defer e.timerMu.Unlock()
	if armed := e.armed.Load(); armed == 0 || at < armed {
		e.armed.Store(at)
		e.clock.arm(Instant(at))
	}
}

// slept is called when the machine was asleep.
func (e *Engine) slept() {
	e.log.Info("the machine was asleep")
	e.NetworkChanged(nil)
}

// Outbound carries the IP packets of b into the tunnel: routes, seals them in
// place and sends them. b has to have the room that [Room] says. What cannot
// be sent now is staged or dropped. It does not keep b.
func (e *Engine) Outbound(b *packet.Batch) {
	e.core.seal(e.clock.now(), b, nil)
	e.awaitFlush()
	e.write(b)
	e.rearm()
}

// awaitFlush comes between seal and write: packets that were staged go before
// those that were sealed in the same session after them.
func (e *Engine) awaitFlush() {
	if !e.core.flushing.Load() {
		return
	}
	e.flushMu.Lock()
	for e.core.flushing.Load() {
		e.flushed.Wait()
	}
	e.flushMu.Unlock()
}

// write sends what is left in b. A failure is a loss, not the end.
func (e *Engine) write(b *packet.Batch) {
	if !hasPackets(b) {
		return
	}
	if err := e.tr.Write(b); err != nil && !errors.Is(err, net.ErrClosed) {
		e.core.drops.sendFailed.Add(1)
		e.core.sendFailed(b)
		e.log.Debug("datagrams not sent", "err", err)
	}
}

// deliver does what the core wants done.
func (e *Engine) deliver(out *output) {
	for _, b := range out.send {
		e.write(b)
		e.pool.Put(b)
	}
	if out.flushing {
		e.flushMu.Lock()
		e.core.flushing.Store(false)
		e.flushed.Broadcast()
		e.flushMu.Unlock()
	}
	if out.sessions {
		e.readyOnce.Do(func() { close(e.ready) })
	}
	for _, r := range out.resolve {
		e.ask(r)
	}
	if len(out.events) > 0 {
		e.publish(out.events)
	}
	if out.stamped && e.save != nil {
		e.save(out.stamp)
	}
	out.reset()
}

// ask begins to resolve a name, unless Run is over.
func (e *Engine) ask(r resolveRequest) {
	ctx := e.lookupC // set before whatever led here
	if ctx == nil || ctx.Err() != nil {
		return
	}
	e.lookups.Go(func() {
		e.lookup(ctx, r)
		e.rearm()
	})
}

// Ready waits until there is, or was, a session with any peer. It returns
// ctx.Err() when ctx ends before that, and Run's error, or net.ErrClosed, when
// Run does.
func (e *Engine) Ready(ctx context.Context) error {
	select {
	case <-e.ready:
		return nil
	default:
	}
	select {
	case <-e.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		if e.err != nil {
			return e.err
		}
		return net.ErrClosed
	}
}

// SetPeers makes the peers those of the list. Peers that stay keep their
// sessions, also when something about them changes; a changed preshared key is
// for the next handshake. Of two peers with the same prefix the later one has
// it. On an error nothing has changed.
func (e *Engine) SetPeers(peers []Peer) error {
	e.setMu.Lock()
	defer e.setMu.Unlock()
	if e.lookupC != nil && e.lookupC.Err() != nil {
		return net.ErrClosed
	}
	out := e.newOutput()
	err := e.core.setPeers(e.clock.now(), peers, e.running, out)
	e.deliver(out)
	e.rearm()
	return err
}

// SetPrivateKey gives the engine another private key; the zero key takes it away.
// The sessions and handshakes of the old key are dropped, and peers that have
// an endpoint are shaken hands with at once, but see OnDemand. A peer whose key
// is now our own is left out: it is gone until SetPeers names it under another
// key of ours.
// The key that is set already changes nothing. It returns net.ErrClosed once
// Run has ended.
func (e *Engine) SetPrivateKey(k PrivateKey) error {
	e.setMu.Lock()
	defer e.setMu.Unlock()
	if e.lookupC != nil && e.lookupC.Err() != nil {
		return net.ErrClosed
	}
	e.core.setPrivateKey(e.clock.now(), k, e.running)
	e.rearm()
	return nil
}

// NetworkChanged says that the host's addresses or routes are not what they
// were: cached source addresses are forgotten, as by [Engine.RoutesChanged] or, if
// keeps is nil, by [Engine.ForgetSources], names resolved again, and handshakes
// made, at the usual rate.
func (e *Engine) NetworkChanged(keeps func(*packet.Path) bool) {
	e.setMu.Lock()
	defer e.setMu.Unlock()
	if !e.running {
		return
	}
	out := e.newOutput()
	e.core.networkChanged(e.clock.now(), keeps, out)
	e.deliver(out)
	e.rearm()
}

// ForgetSources lets the kernel choose again from which of our addresses each
// peer is spoken to, because the Transport has another port or routes by
// another mark (netlink.c, wg_set_device). Ways that were left stay so. Nothing is sent.
func (e *Engine) ForgetSources() { e.core.forgetSources(nil) }

// RoutesChanged is ForgetSources because the host's routes or addresses are other ones:
// a way that keeps holds to is kept. One that it does not hold to is left: what still
// comes along it does not bring its source back, before keeps has held to it again.
// keeps may ask the kernel.
func (e *Engine) RoutesChanged(keeps func(*packet.Path) bool) { e.core.forgetSources(keeps) }

func hasPackets(b *packet.Batch) bool {
	for i := range b.Len() {
		if len(b.Packet(i)) > 0 {
			return true
		}
	}
	return false
}
