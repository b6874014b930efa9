package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"adit/link"
	"adit/packet"
	"adit/wg"
	"golang.org/x/sys/unix"
)

// Options say what a Device is made of. Run owns TUN and Socket.
type Options struct {
	TUN    *os.File // of OpenTUN
	Socket *Socket  // of Listen: where it is configured
	Logger *slog.Logger
	Ready  func() // if not nil, called when the device works

	NoOffload bool // the kernel is to segment and merge nothing
}

// A Device is a WireGuard interface: a TUN, an engine and a UDP socket, and the
// clients that configure them.
type Device struct {
	log    *slog.Logger
	tun    *gate
	udp    *transport
	engine *wg.Engine

	mu    sync.Mutex // guards state and up; one set or get at a time
	state *state
	up    bool // the interface is: else the engine has no peers

	clients sync.WaitGroup
}

// Run is the device until ctx ends, the interface is deleted or the socket's
// file is removed; then it returns nil.
//
// It has four goroutines beside the engine's: one accepts clients, one waits
// for news of the interface, one for news of the network, one for the end of
// the socket's file; and each client has one. All of them sleep unless
// something happens.
func Run(ctx context.Context, o Options) error {
	defer o.Socket.Close()
	tun, err := link.NewTUN(o.TUN, link.DeviceOptions{MTU: DefaultMTU, DisableOffload: o.NoOffload, Logger: o.Logger})
	if err != nil {
		o.TUN.Close()
		return err
	}
	d, err := newDevice(tun, o.NoOffload, o.Logger)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	run := func(f func(context.Context) error) {
		wait.Go(func() { cancel(f(ctx)) })
	}
	defer wait.Wait()
	defer context.AfterFunc(ctx, func() { o.Socket.Close() })()

	run(d.engine.Run)
	known := make(chan struct{}) // closed by the first news
	var once sync.Once
	run(func(ctx context.Context) error {
		return tun.Watch(ctx, func(up bool) {
			d.follow(up)
			once.Do(func() { close(known) })
		})
	})
	select {
	case <-known:
	case <-ctx.Done():
	}
	run(o.Socket.watch)
	wait.Go(func() {
		// Where the datagrams go is the kernel's business; what they are sent from
		// is remembered until the kernel refuses it, or says that there is news.
		if err := link.WatchNetwork(ctx, d.routesChanged); err != nil && ctx.Err() == nil {
			d.log.Debug("changes of the host's network go unnoticed", "err", err)
		}
	})
	run(func(ctx context.Context) error { return d.accept(ctx, o.Socket) })
	if o.Ready != nil && ctx.Err() == nil {
		o.Ready()
	}
	<-ctx.Done()
	d.log.Debug("the device ends", "why", context.Cause(ctx))
	wait.Wait()
	return ended(context.Cause(ctx))
}

// routesChanged has the engine leave those ways that the host's routes have left.
func (d *Device) routesChanged() {
	for {
		_, mark := d.udp.settings()
		d.engine.RoutesChanged(func(p *packet.Path) bool { return link.HoldsTo(p, mark) })
		if _, now := d.udp.settings(); now == mark {
			return
		}
	}
}

// ended returns nil for what is no failure: to be told to end, by whatever
// means.
func ended(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, net.ErrClosed), errors.Is(err, unix.EBADFD): // the interface is deleted
		return nil
	}
	return err
}

// newDevice returns a Device that is down, around tun, which the engine owns.
func newDevice(tun packet.Device, noOffload bool, log *slog.Logger) (*Device, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Device{log: log, tun: newGate(tun), udp: newTransport(noOffload, log), state: newState()}
	var err error
	d.engine, err = wg.New(wg.Config{Device: d.tun, Transport: d.udp, OnDemand: true, Logger: log})
	return d, err
}

// accept takes clients until the socket is closed.
func (d *Device) accept(ctx context.Context, s *Socket) error {
	defer d.clients.Wait()
	for {
		c, err := s.accept()
		if isShortage(err) {
			d.log.Error("cannot take a client", "err", err)
			select {
			case <-time.After(time.Second):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			return err
		}
		d.clients.Go(func() {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			d.serve(c)
		})
	}
}

// isShortage reports whether err says that something has run out that will be
// there again.
func isShortage(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// follow does to the engine what was done to the interface. While it is down,
// the engine has no peers and there is no socket: nothing is sent, nobody is
// answered, and sessions and packets that waited are gone (device.c wg_stop).
func (d *Device) follow(up bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if up == d.up {
		return
	}
	d.up = up
	d.log.Debug("interface", "up", up)
	if !up {
		d.tun.set(false)
		d.state.settle(d.engine.Status())
		d.push(nil)
	}
	if err := d.udp.setUp(up); err != nil {
		d.log.Error("the interface is up without a socket", "err", err)
	}
	if up {
		d.push(d.state.config())
		d.tun.set(true)
	}
}

// push gives the engine its peers.
func (d *Device) push(peers []wg.Peer) {
	if err := d.engine.SetPeers(peers); err != nil && !errors.Is(err, net.ErrClosed) {
		d.log.Error("configure peers", "err", err)
	}
}

// get carries out a get operation.
func (d *Device) get() []byte {
	d.mu.Lock()
	d.state.port, d.state.mark = d.udp.settings()
	r := d.state.report(d.engine.Status())
	d.mu.Unlock()
	return appendReport(nil, &r)
}

// set carries out a set operation: all of it or, on an error, nothing.
func (d *Device) set(c *change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.udp.configure(c.listenPort, c.fwMark); err != nil {
		return fmt.Errorf("configure the socket: %w", err)
	}
	if c.fwMark != nil {
		d.routesChanged() // other routes are for us now
	}
	if c.listenPort != nil || c.fwMark != nil {
		d.engine.ForgetSources()
	}
	before := d.engine.Status()
	a := d.state.apply(c)
	if a.key {
		if err := d.engine.SetPrivateKey(d.state.key); err != nil {
			return err
		}
	}
	if !d.up {
		return nil
	}
	peers := d.state.config()
	if first, needed := detour(peers, a, before); needed {
		d.push(first)
	}
	d.push(peers)
	return nil
}

// detour returns what the engine has to be given before peers, so that it takes
// notice of what is in their history and not in the list: a peer that was
// removed and added again begins anew, and one whose endpoint is set is there,
// wherever it has roamed to.
func detour(peers []wg.Peer, a applied, before wg.Status) (first []wg.Peer, needed bool) {
	at := make(map[wg.PublicKey]netip.AddrPort)
	for _, ps := range before.Peers {
		at[ps.PublicKey] = ps.Endpoint
	}
	for _, p := range peers {
		switch {
		case a.renewed[p.PublicKey]:
			needed = true
			continue
		case a.moved[p.PublicKey] && at[p.PublicKey].IsValid() && endpointAt(at[p.PublicKey]) != p.Endpoint:
			needed = true
			p.Endpoint = wg.Endpoint{}
		}
		first = append(first, p)
	}
	return first, needed
}
