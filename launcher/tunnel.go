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

// A tunnel is everything between the command's device and the network: one
// carrier, or several inside each other, the command's last.
type tunnel struct {
	e        *engine
	cfg      *config.Config // the command's: the last one
	carriers []*carrier
	start    time.Time
	timeout  time.Duration
	captures []*link.PcapWriter // of --pcap
	tun      *link.TUN          // the command's device, if it is one
	confined *confined          // what serves a command without a device
	closers  closers
}

// openTunnel furnishes the stage's namespaces, takes the device from it and
// starts the carriers. locks are those of the carriers' keys.
func openTunnel(ctx context.Context, e *engine, locks []*keyLock) (*tunnel, error) {
	last := e.cfgs[len(e.cfgs)-1]
	t := &tunnel{e: e, cfg: last, start: time.Now(), timeout: last.Options.WaitTimeout}
	if t.timeout == 0 {
		t.timeout = config.DefaultWaitTimeout
	}
	if err := t.open(ctx, locks); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *tunnel) open(ctx context.Context, locks []*keyLock) error {
	under := t.hostUnderlay(t.e.cfgs[0].ListenPort)
	for i, cfg := range t.e.cfgs {
		c, err := t.openCarrier(ctx, cfg, under)
		if err != nil {
			return err
		}
		t.carriers = append(t.carriers, c)
		t.closers.add(c)
		if err := c.start(under, locks[i], t); err != nil {
			return err
		}
		under = over(c)
	}
	return nil
}

// openCarrier makes the carrier of cfg; the command's gets its device.
func (t *tunnel) openCarrier(ctx context.Context, cfg *config.Config, under *underlay) (*carrier, error) {
	in := insideOf(cfg)
	mtu, err := t.chooseMTU(ctx, cfg, under, in)
	if err != nil {
		return nil, err
	}
	if cfg != t.cfg {
		return newCarrier(t, cfg, in, mtu, nil)
	}
	if isConfined(t.e.l.Mode) {
		return t.openConfined(cfg, in, mtu)
	}
	report, files, err := t.e.stage.furnish(t.stageConfig(in, mtu))
	if err != nil {
		return nil, err
	}
	t.e.child.takeOver(report.PID)
	t.e.child.keep(report.Keeper)
	t.reportMode(report, mtu)
	device, err := t.openDevice(report.Device, files[0], mtu)
	if err != nil {
		return nil, doing("open the device", err)
	}
	t.tun, _ = device.(*link.TUN)
	if device, err = t.capture(device); err != nil {
		return nil, err
	}
	c, err := newCarrier(t, cfg, in, mtu, device)
	if err != nil {
		return nil, err
	}
	t.serveNames(c, report.Sockets, files[1:])
	return c, nil
}

// onEvent tells the front what happens to the tunnel, if anybody wants to know:
// a session that is renewed for ever is no reason to wake up a process.
func (t *tunnel) onEvent(ev wg.Event) {
	if !t.e.l.Status {
		return
	}
	switch ev.Kind {
	case wg.SessionUp:
		t.e.report(report{Event: eventHandshake, Text: ev.Peer.String()})
	case wg.HandshakeGaveUp:
		t.e.report(report{Event: eventDown, Text: ev.Peer.String()})
	}
}

func (t *tunnel) openDevice(kind string, f *os.File, mtu int) (packet.Device, error) {
	o := link.DeviceOptions{MTU: mtu, DisableOffload: t.e.l.NoOffload, Logger: t.e.log}
	if kind == "tun" {
		return link.NewTUN(f, o)
	}
	return link.NewVeth(f, vethApp, vethGateway, o)
}

// reportMode says, at -v only, how the command's traffic is got hold of.
func (t *tunnel) reportMode(r *stageReport, mtu int) {
	t.e.report(report{Event: eventMode, Text: r.Device, Mode: t.e.l.Mode})
	log := t.e.log.With("mode", t.e.l.Mode)
	switch r.Device {
	case "seccomp", "preload":
		log.Info("the command's sockets are adit's", "mtu", mtu)
	case "veth":
		log.Info("the device is a veth pair", "because", r.NoTUN, "mtu", mtu)
	default:
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
		Search: t.cfg.DNSSearch, Inner: m.inner, KeepEtc: m.whole, NoOffload: t.e.l.NoOffload,
		Ignored: t.e.l.Ignored,
		Front:   t.e.l.PID, Engine: os.Getpid(), StopTimeout: t.e.l.StopTimeout,
	}
	if len(c.Routes) > maxRoutes {
		c.Routes = nil
		for i, is := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
			if containsFamily(in.routes, is) {
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
	ctx, cancel := context.WithDeadline(ctx, t.start.Add(t.timeout))
	defer cancel()
	for _, c := range t.carriers {
		if err := t.waitFor(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits for one carrier; the command's has to be all that --wait asks.
func (t *tunnel) waitFor(ctx context.Context, c *carrier) error {
	endpoints := endpointList(c.cfg)
	if endpoints == "" {
		t.e.log.Info("no peer has an endpoint: the command does not wait for a handshake")
		return nil
	}
	t.e.report(report{Event: eventWaiting, Text: "waiting for a handshake with " + endpoints})
	ready := make(chan error, 1)
	go func() { ready <- t.ready(ctx, c) }()
	select {
	case <-c.ended:
		return doing("run the tunnel", c.err)
	case err := <-ready:
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return t.notReady(c, endpoints)
		case err != nil && ctx.Err() == nil:
			// The engine's end, heard from itself first: the same words.
			<-c.ended
			return doing("run the tunnel", c.err)
		}
		return err
	}
}

func (t *tunnel) ready(ctx context.Context, c *carrier) error {
	if err := c.wg.Ready(ctx); err != nil {
		return err
	}
	if c.cfg != t.cfg || c.cfg.Options.Wait.Kind != config.WaitTCP {
		return nil
	}
	for {
		conn, err := c.stack.DialContext(ctx, "tcp", c.cfg.Options.Wait.Addr)
		if err == nil {
			return conn.Close()
		}
		t.e.log.Debug("not accepted yet", "addr", c.cfg.Options.Wait.Addr, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// failure waits until one of the carriers ends by itself, which only a fatal
// error makes it do, and returns that. It returns nil if ctx ends before.
func (t *tunnel) failure(ctx context.Context) error {
	failed := make(chan error, len(t.carriers)) // room for the word of each
	for _, c := range t.carriers {
		go func() {
			select {
			case <-c.ended:
				failed <- c.err
			case <-ctx.Done():
			}
		}()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// notReady says what was tried and came to nothing.
func (t *tunnel) notReady(c *carrier, endpoints string) error {
	again := againWith(t.e.cfgs, t.e.l.argv())
	sent, received := uint64(0), uint64(0)
	shaken := false
	for _, p := range c.wg.Status().Peers {
		sent, received = sent+p.TxBytes, received+p.RxBytes
		shaken = shaken || !p.LastHandshake.IsZero()
	}
	if shaken {
		return errNotAccepted(c.cfg.Options.Wait.Addr, endpoints, t.timeout, again)
	}
	return errNoHandshake(endpoints, t.timeout, sent, received, c.cfg.PrivateKey.Public(), again)
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

// leaveDevice lets the command's device go with its namespace, when nobody is in
// there any more: Close need not wait for its end.
func (t *tunnel) leaveDevice() {
	if t.tun != nil {
		t.tun.Leave() // if it cannot, it ends in Close
	}
}

// Close ends the carriers, the command's first.
func (t *tunnel) Close() error { return t.closers.Close() }

// serveNames answers the questions that reach the sockets on the namespace's
// loopback, in the order in which the stage named them.
func (t *tunnel) serveNames(c *carrier, names []string, files []*os.File) {
	for i, f := range files {
		kind, _, _ := strings.Cut(names[i], " ")
		if err := t.serveName(c, kind, f); err != nil {
			t.e.log.Warn("a DNS socket is not served", "socket", names[i], "err", err)
		}
		f.Close()
	}
}

func (t *tunnel) serveName(c *carrier, kind string, f *os.File) error {
	if kind == "tcp" {
		l, err := net.FileListener(f)
		if err != nil {
			return err
		}
		c.closers.add(l)
		go t.answer(context.Background(), c, nil, l)
		return nil
	}
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return err
	}
	c.closers.add(pc)
	go t.answer(context.Background(), c, pc, nil)
	return nil
}

// answer answers the questions on a socket until it is closed or ctx ends: by the tunnel's
// nameservers or, with --dns host and only then, by the host's own, outside of
// the tunnel.
func (t *tunnel) answer(ctx context.Context, c *carrier, udp net.PacketConn, tcp net.Listener) {
	if err := c.answer(ctx, udp, tcp); err != nil && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
		t.e.log.Warn("names are no longer answered on a loopback address", "err", err)
	}
}

func (c *carrier) answer(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	if c.cfg.Options.DNSMode != config.DNSHost {
		return c.stack.ServeDNS(ctx, udp, tcp)
	}
	servers, err := netstack.HostNameservers()
	if err != nil {
		return err
	}
	return netstack.ForwardDNS(ctx, udp, tcp, servers, new(net.Dialer).DialContext)
}

// lookup returns the addresses of a name for the command, from those whom answer asks.
// With --dns off they are nobody.
func (c *carrier) lookup(ctx context.Context, network, name string) ([]netip.Addr, error) {
	var servers []netip.AddrPort
	switch c.cfg.Options.DNSMode {
	case config.DNSFile:
		return c.stack.LookupNetIP(ctx, network, name)
	case config.DNSHost:
		var err error
		if servers, err = netstack.HostNameservers(); err != nil {
			return nil, err
		}
	}
	return netstack.LookupNetIP(ctx, network, name, servers, c.cfg.DNSSearch, new(net.Dialer).DialContext)
}
