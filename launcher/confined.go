package launcher

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"

	"adit/broker"
	"adit/config"
	"adit/link"
	"adit/netstack"
	"adit/packet"
	"adit/preload"
)

// Without namespaces the command stays where it is, and gets its sockets from the
// broker, over the network stack of the tunnel. confined.go is the engine's part,
// stage_confined.go what the command does to itself.

// A confined is what serves a command without namespaces.
type confined struct {
	mode    string
	broker  *broker.Broker
	lender  *lender         // of seccomp mode
	server  *preload.Server // of preload mode
	library string          // its file
	closers closers
}

// isConfined reports whether a mode does without namespaces.
func isConfined(mode string) bool { return mode == "seccomp" || mode == "preload" }

// loopbackStubs are the nameservers of a host that are the host itself.
var loopbackStubs = []netip.Addr{
	netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54"),
	netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"),
}

// openConfined makes the command's carrier and what serves it, in a mode without
// namespaces.
func (t *tunnel) openConfined(cfg *config.Config, in inside, mtu int) (*carrier, error) {
	c, err := newCarrier(t, cfg, in, mtu, nil)
	if err != nil {
		return nil, err
	}
	if err = t.captureInner(c); err == nil {
		t.confined, err = t.confine(c, in)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	t.closers.add(t.confined)
	f := t.confined
	report, _, err := t.e.stage.furnish(&stageConfig{
		Mode: f.mode, KeepSockets: f.lender != nil && f.lender.keeps, Library: f.library, Ignored: t.e.l.Ignored,
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	t.reportMode(report, mtu)
	t.warnOfMode()
	return c, nil
}

// warnOfMode warns of what was asked for and has no effect in the mode.
func (t *tunnel) warnOfMode() {
	switch {
	case t.confined.mode == "seccomp" && t.hasNames() && len(t.cfg.DNSSearch) > 0:
		t.e.warn(warnSearch)
	case t.confined.mode == "preload" && len(t.e.l.Expose.UDP) > 0:
		t.e.warn(warnExposedUDP)
	}
}

// confine makes the broker between the command and the stack of c.
func (t *tunnel) confine(c *carrier, in inside) (*confined, error) {
	exposed := t.e.l.Expose
	cfg := broker.Config{
		Dialer: c.stack, Stubs: loopbackStubs, Resolvers: resolverDirs, Logger: t.e.log,
		Exposed: func(port uint16) bool { return exposed.All || slices.Contains(exposed.TCP, port) },
	}
	for _, p := range in.addresses {
		cfg.Addresses = append(cfg.Addresses, p.Addr())
	}
	if servers, err := netstack.HostNameservers(); err == nil {
		for _, s := range servers {
			cfg.Stubs = append(cfg.Stubs, s.Addr())
		}
	}
	answering, stop := context.WithCancel(context.Background())
	if t.hasNames() {
		cfg.Answer = func(udp net.PacketConn, tcp net.Listener) { t.answer(answering, c, udp, tcp) }
	}
	f := &confined{mode: t.e.l.Mode}
	if f.mode == "seccomp" {
		f.lender = newLender()
		f.closers.add(f.lender)
		cfg.Settled, cfg.Borrow, cfg.EndListeners = f.lender.settles, f.lender.again, f.lender.endListeners
	} else {
		cfg.Closed = closedSockets
	}
	b, err := broker.New(cfg)
	if err != nil {
		stop()
		f.Close()
		return nil, doing("open sockets on lo", err)
	}
	f.broker = b
	f.closers.add(b)
	f.closers.add(closing(stop)) // before: the broker waits for its answers
	if f.mode == "seccomp" {
		return f, nil
	}
	if err := f.preload(t, c, cfg); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// hasNames reports whether somebody answers for names.
func (t *tunnel) hasNames() bool {
	o := t.cfg.Options.DNSMode
	return o == config.DNSHost || o == config.DNSFile && len(t.cfg.DNS) > 0
}

// preload starts the server of the shims, and puts the shim where it can be loaded.
func (f *confined) preload(t *tunnel, c *carrier, cfg broker.Config) error {
	var err error
	f.server, err = preload.NewServer(preload.ServerConfig{
		Broker: f.broker, Lookup: c.lookup, Addresses: cfg.Addresses, Search: t.cfg.DNSSearch,
		Answer: cfg.Answer, Allowed: isDescendant, Logger: t.e.log,
	})
	if err != nil {
		return doing("open the shim's socket", err)
	}
	f.closers.add(f.server)
	if f.library, err = placeLibrary(f.server.Name()); err != nil {
		return doing("write the shim", err)
	}
	f.closers.add(closing(func() { os.Remove(f.library) }))
	ctx, cancel := context.WithCancel(context.Background())
	f.closers.add(closing(cancel))
	go func() {
		if err := f.server.Serve(ctx); err != nil && ctx.Err() == nil {
			t.e.log.Warn("the shim is no longer answered", "err", err)
		}
	}()
	return nil
}

// closing is a function as an io.Closer.
type closing func()

func (c closing) Close() error { c(); return nil }

// isDescendant reports whether a process comes from this one.
func isDescendant(pid int) bool {
	for range 1000 {
		if pid == os.Getpid() {
			return true
		}
		_, _, parent, found := procStat(pid)
		if !found || parent <= 1 || parent == pid {
			return false
		}
		pid = parent
	}
	return false
}

// serve answers the command's system calls, told of by the listener.
func (f *confined) serve(listener *os.File, log *slog.Logger, warn func(string)) error {
	n, err := newNotifier(listener, f.broker, f.lender, log, warn)
	if err != nil {
		return err
	}
	f.closers.add(n)
	return nil
}

// isUnheard reports whether no program of the command has loaded the shim.
func (f *confined) isUnheard() bool {
	if f == nil || f.server == nil {
		return false
	}
	select {
	case <-f.server.Loaded():
		return false
	default:
		return true
	}
}

func (f *confined) Close() error { return f.closers.Close() }

// captureInner has w record what the stack of c sends and receives: the inside of a
// tunnel that has no device.
func (t *tunnel) captureInner(c *carrier) error {
	w, err := t.openPcap(t.e.l.PcapInner)
	if w == nil || err != nil {
		return err
	}
	c.inner = w
	return nil
}

// recorded returns a device, and what is to be pushed to upstream, as --pcap inner=F
// wants it.
func (c *carrier) recorded(d packet.Device, upstream func(*packet.Batch)) (packet.Device, func(*packet.Batch)) {
	if c.inner == nil {
		return d, upstream
	}
	return link.PcapDevice(d, c.inner), func(b *packet.Batch) {
		c.inner.Record(b)
		upstream(b)
	}
}
