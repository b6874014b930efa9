package launcher

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"adit/config"
	"adit/link"
	"adit/netstack"
	"adit/packet"
	"adit/wg"
)

// A tunnel is everything between the command's device and the network.
type tunnel struct {
	e       *engine
	cfg     *config.Config
	stack   *netstack.Stack
	wg      *wg.Engine
	end     context.CancelFunc
	ended   chan error // capacity 1: why the WireGuard engine ended
	start   time.Time
	timeout time.Duration
	closers closers
}

// openTunnel furnishes the stage's namespaces, takes the device from it and
// starts the engine and the network stack on it.
func openTunnel(ctx context.Context, e *engine, lock *keyLock) (*tunnel, error) {
	t := &tunnel{e: e, cfg: e.cfg, ended: make(chan error, 1), start: time.Now(), timeout: e.cfg.Options.WaitTimeout}
	if t.timeout == 0 {
		t.timeout = config.DefaultWaitTimeout
	}
	if err := t.open(ctx, lock); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *tunnel) open(ctx context.Context, lock *keyLock) error {
	inside := insideOf(t.cfg)
	resolver := newResolver()
	mtu, err := t.chooseMTU(ctx, resolver, inside)
	if err != nil {
		return err
	}
	report, files, err := t.e.stage.furnish(t.stageConfig(inside, mtu))
	if err != nil {
		return err
	}
	t.e.child.takeOver(report.PID)
	t.e.child.keep(report.Keeper)
	t.reportMode(report, mtu)
	device, err := openDevice(report.Device, files[0], mtu)
	if err != nil {
		return doing("open the device", err)
	}
	if device, err = t.capture(device); err != nil {
		return err
	}
	t.stack, err = netstack.New(netstack.Config{
		Addresses: inside.addresses, Routes: inside.routes,
		DNS: t.cfg.DNS, Search: t.cfg.DNSSearch,
		MTU: mtu, Capture: device, Room: wg.Room(mtu), Logger: t.e.log,
	})
	if err != nil {
		return failed(err)
	}
	t.closers.add(t.stack)
	t.serveNames(report.Sockets, files[1:])
	return t.startWireGuard(resolver, lock)
}

// startWireGuard opens the UDP socket and runs the engine between it and the
// stack.
func (t *tunnel) startWireGuard(resolver *resolver, lock *keyLock) error {
	udp, err := link.ListenUDP(link.UDPOptions{Port: t.cfg.ListenPort, FallbackPort: true, Logger: t.e.log})
	if err != nil {
		return doing("open the UDP socket", err)
	}
	if p := t.cfg.ListenPort; p != 0 && udp.LocalPort() != p {
		t.e.log.Info("the port is taken, another one is used", "port", p, "used", udp.LocalPort())
	}
	var transport wg.Transport = udp
	if transport, err = t.captureOuter(transport); err != nil {
		udp.Close()
		return err
	}
	t.wg, err = wg.New(wg.Config{
		PrivateKey: t.cfg.PrivateKey, Peers: peersOf(t.cfg),
		Device: t.stack.Device(), Transport: transport,
		Resolve: resolver.lookup, LastTimestamp: lock.last(), SaveTimestamp: lock.save,
		Logger: t.e.log,
	})
	if err != nil {
		return failed(err)
	}
	t.stack.SetUpstream(t.wg.Outbound)
	t.wg.Subscribe(t.onEvent)
	lock.settle()
	ctx, cancel := context.WithCancel(context.Background())
	t.end = cancel
	go func() { t.ended <- t.wg.Run(ctx) }()
	go link.WatchNetwork(ctx, t.wg.NetworkChanged)
	return nil
}

func peersOf(c *config.Config) []wg.Peer {
	var peers []wg.Peer
	for _, p := range c.Peers {
		peers = append(peers, wg.Peer{
			PublicKey: p.PublicKey, PresharedKey: p.PresharedKey,
			Endpoint:   wg.Endpoint{Host: p.Endpoint.Host, Port: p.Endpoint.Port},
			AllowedIPs: p.AllowedIPs, Keepalive: p.Keepalive,
		})
	}
	return peers
}

// onEvent tells the front what happens to the tunnel.
func (t *tunnel) onEvent(ev wg.Event) {
	switch ev.Kind {
	case wg.SessionUp:
		t.e.report(report{Event: eventHandshake, Text: ev.Peer.String()})
	case wg.HandshakeGaveUp:
		t.e.report(report{Event: eventDown, Text: ev.Peer.String()})
	}
}

func openDevice(kind string, f *os.File, mtu int) (packet.Device, error) {
	if kind == "tun" {
		return link.NewTUN(f, mtu)
	}
	return link.NewVeth(f, mtu, vethApp, vethGateway)
}

// reportMode says, at -v only, how the command's traffic is got hold of.
func (t *tunnel) reportMode(r *stageReport, mtu int) {
	t.e.report(report{Event: eventMode, Text: r.Device})
	log := t.e.log.With("mode", t.e.l.Mode)
	if r.Device == "veth" {
		log.Info("the device is a veth pair", "because", r.NoTUN, "mtu", mtu)
	} else {
		log.Info("the device is a tun", "mtu", mtu)
	}
	for _, note := range r.Notes {
		log.Info(note)
	}
}

// inside is what the namespace has: the configuration narrowed by -4 and -6.
type inside struct {
	addresses []netip.Prefix
	routes    []netip.Prefix
}

func insideOf(c *config.Config) inside {
	wanted := func(p netip.Prefix) bool {
		return !(c.Options.IPv4Only && p.Addr().Is6()) && !(c.Options.IPv6Only && p.Addr().Is4())
	}
	var in inside
	has4, has6 := false, false
	for _, a := range c.Addresses {
		if wanted(a) {
			in.addresses = append(in.addresses, a)
			has4, has6 = has4 || a.Addr().Is4(), has6 || a.Addr().Is6()
		}
	}
	// A family without an address has no route: programs turn to the other
	// one at once.
	for _, p := range c.Peers {
		for _, r := range p.AllowedIPs {
			if r.Addr().Is4() && has4 || r.Addr().Is6() && has6 {
				in.routes = append(in.routes, r)
			}
		}
	}
	return in
}

// maxRoutes is how many prefixes become routes of the namespace; of more the
// router alone knows which are covered.
const maxRoutes = 1000

var defaultRoutes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func (t *tunnel) stageConfig(in inside, mtu int) *stageConfig {
	m := mappingFor(t.e.l.AsRoot)
	c := &stageConfig{
		Addresses: in.addresses, Routes: in.routes, MTU: mtu,
		Search: t.cfg.DNSSearch, Inner: m.inner, KeepEtc: m.whole,
		Ignored: t.e.l.Ignored, PGID: t.e.l.PGID,
	}
	if len(c.Routes) > maxRoutes {
		c.Routes = nil
		for i, is := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
			if containsFamily(in.addresses, is) {
				c.Routes = append(c.Routes, defaultRoutes[i])
			}
		}
	}
	switch {
	case t.cfg.Options.DNSMode == config.DNSHost:
		c.DNS, c.Loopback = []netip.Addr{netip.MustParseAddr("127.0.0.53")}, true
	case t.cfg.Options.DNSMode == config.DNSFile && len(t.cfg.DNS) > 0:
		c.DNS, c.Loopback = t.cfg.DNS, true
	}
	return c
}

func containsFamily(prefixes []netip.Prefix, is func(netip.Addr) bool) bool {
	for _, p := range prefixes {
		if is(p.Addr()) {
			return true
		}
	}
	return false
}

// waitReady waits until the command may start: a handshake, or what --wait
// says. Running out of time is an *Error with CodeNotReady.
func (t *tunnel) waitReady(ctx context.Context) error {
	if t.cfg.Options.Wait.Kind == config.WaitNone {
		return nil
	}
	endpoints := endpointList(t.cfg)
	if endpoints == "" {
		t.e.log.Info("no peer has an endpoint: the command does not wait for a handshake")
		return nil
	}
	ctx, cancel := context.WithDeadlineCause(ctx, t.start.Add(t.timeout), context.DeadlineExceeded)
	defer cancel()
	t.e.report(report{Event: eventWaiting, Text: "waiting for a handshake with " + endpoints})
	ready := make(chan error, 1)
	go func() { ready <- t.ready(ctx) }()
	select {
	case err := <-t.ended:
		return doing("run the tunnel", err)
	case err := <-ready:
		if errors.Is(err, context.DeadlineExceeded) {
			return t.notReady(endpoints)
		}
		return err
	}
}

func (t *tunnel) ready(ctx context.Context) error {
	if err := t.wg.Ready(ctx); err != nil {
		return err
	}
	if t.cfg.Options.Wait.Kind != config.WaitTCP {
		return nil
	}
	for {
		c, err := t.stack.DialContext(ctx, "tcp", t.cfg.Options.Wait.Addr)
		if err == nil {
			return c.Close()
		}
		t.e.log.Debug("not accepted yet", "addr", t.cfg.Options.Wait.Addr, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// notReady says what was tried and came to nothing.
func (t *tunnel) notReady(endpoints string) error {
	sent, received := uint64(0), uint64(0)
	shaken := false
	for _, p := range t.wg.Status().Peers {
		sent, received = sent+p.TxBytes, received+p.RxBytes
		shaken = shaken || !p.LastHandshake.IsZero()
	}
	if shaken {
		return errNotAccepted(t.cfg.Options.Wait.Addr, endpoints, t.timeout)
	}
	return errNoHandshake(endpoints, t.timeout, sent, received, t.cfg.PrivateKey.Public())
}

func endpointList(c *config.Config) string {
	var list []string
	for _, p := range c.Peers {
		if p.Endpoint.Port != 0 {
			list = append(list, p.Endpoint.String())
		}
	}
	return strings.Join(list, ", ")
}

// Close ends the engine and closes everything.
func (t *tunnel) Close() error {
	if t.end != nil {
		t.end()
		<-t.ended
	}
	return t.closers.Close()
}

// serveNames answers the questions that reach the sockets on the namespace's
// loopback, in the order in which the stage named them.
func (t *tunnel) serveNames(names []string, files []*os.File) {
	for i, f := range files {
		kind, _, _ := strings.Cut(names[i], " ")
		if err := t.serveName(kind, f); err != nil {
			t.e.log.Warn("a DNS socket is not served", "socket", names[i], "err", err)
		}
		f.Close()
	}
}

func (t *tunnel) serveName(kind string, f *os.File) error {
	if kind == "tcp" {
		l, err := net.FileListener(f)
		if err != nil {
			return err
		}
		t.closers.add(l)
		go t.answer(nil, l)
		return nil
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return err
	}
	t.closers.add(c)
	go t.answer(c, nil)
	return nil
}

// answer answers the questions on a socket until it is closed: by the tunnel's
// nameservers or, with --dns host and only then, by the host's own, outside of
// the tunnel.
func (t *tunnel) answer(udp net.PacketConn, tcp net.Listener) error {
	ctx := context.Background()
	if t.cfg.Options.DNSMode != config.DNSHost {
		return t.stack.ServeDNS(ctx, udp, tcp)
	}
	servers, err := netstack.HostNameservers()
	if err != nil {
		return err
	}
	return netstack.ForwardDNS(ctx, udp, tcp, servers, new(net.Dialer).DialContext)
}
