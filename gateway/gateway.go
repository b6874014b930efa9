package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"adit/link"
	"adit/netstack"
	"adit/packet"
	"adit/wg"
)

// DefaultMTU is the tunnel's MTU unless Options.MTU says otherwise.
const DefaultMTU = 1420

// Options says what a Gateway is.
type Options struct {
	PrivateKey wg.PrivateKey
	Listen     netip.AddrPort // UDP. Zero address: all; port 0: any free one
	Peers      []Peer

	// Addresses are the gateway's own in the tunnel, with the network that new
	// peers get theirs from. If empty, DefaultAddresses.
	Addresses []netip.Prefix

	MTU int // of the tunnel. If zero, DefaultMTU

	// Dial, if not nil, makes connections behind the gateway instead of the
	// host's sockets; networks are "tcp" and "udp", addresses literal. Then
	// echo requests are not forwarded: they cannot be given to Dial.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// DNS says that the gateway's addresses answer DNS, by forwarding to the
	// host's nameservers.
	DNS bool

	NoOffload bool         // the kernel is to segment and merge no datagrams
	Logger    *slog.Logger // nil: discard
}

// A Peer is who may come.
type Peer struct {
	PublicKey    wg.PublicKey
	PresharedKey wg.PresharedKey // zero: none
	Addresses    []netip.Prefix  // the peer's own; it may send from no other
}

// DefaultAddresses returns the addresses of a gateway that was not given any.
func DefaultAddresses() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.97.0.1/24"),
		netip.MustParsePrefix("fd61:6469:7400::1/64"), // "adit" in ASCII
	}
}

// A Gateway serves peers. Make one with New and let it Run.
type Gateway struct {
	exit   *exit
	engine *wg.Engine
	key    wg.PublicKey
	addr   netip.AddrPort
	log    *slog.Logger
}

// New opens the UDP socket; peers are answered once Run is called. A port that
// is in use is an error that wraps EADDRINUSE, and peers that CheckPeers
// does not accept are one, too.
func New(o Options) (*Gateway, error) {
	if o.PrivateKey.IsZero() {
		return nil, errors.New("make a gateway: no private key")
	}
	if err := CheckPeers(o.Peers); err != nil {
		return nil, fmt.Errorf("make a gateway: %w", err)
	}
	o = o.withDefaults()
	x, err := newExit(o)
	if err != nil {
		return nil, fmt.Errorf("make a gateway: %w", err)
	}
	udp, err := link.ListenUDP(link.UDPOptions{Port: o.Listen.Port(), Addr: bindAddress(o.Listen), DisableOffload: o.NoOffload, Logger: o.Logger})
	if err != nil {
		x.close()
		return nil, fmt.Errorf("make a gateway: %w", err)
	}
	engine, err := wg.New(wg.Config{
		PrivateKey: o.PrivateKey,
		Peers:      enginePeers(o.Peers),
		Device:     x.net.Device(),
		Transport:  udp,
		Logger:     o.Logger,
	})
	if err != nil {
		x.close()
		udp.Close()
		return nil, fmt.Errorf("make a gateway: %w", err)
	}
	x.net.SetUpstream(engine.Outbound)
	addr := o.Listen.Addr()
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
	}
	return &Gateway{exit: x, engine: engine, key: o.PrivateKey.Public(), addr: netip.AddrPortFrom(addr, udp.LocalPort()), log: o.Logger}, nil
}

func (o Options) withDefaults() Options {
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if len(o.Addresses) == 0 {
		o.Addresses = DefaultAddresses()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// bindAddress returns the address for link.ListenUDP, whose zero is all
// addresses of both families.
func bindAddress(listen netip.AddrPort) netip.Addr {
	if listen.Addr() == netip.IPv6Unspecified() {
		return netip.Addr{}
	}
	return listen.Addr()
}

func enginePeers(peers []Peer) []wg.Peer {
	out := make([]wg.Peer, 0, len(peers))
	for _, p := range peers {
		out = append(out, wg.Peer{PublicKey: p.PublicKey, PresharedKey: p.PresharedKey, AllowedIPs: p.Addresses})
	}
	return out
}

// Addr returns where peers find the gateway: the address that it was given, or
// "::" for all, and its port.
func (g *Gateway) Addr() netip.AddrPort { return g.addr }

// PublicKey returns the key by which peers know the gateway.
func (g *Gateway) PublicKey() wg.PublicKey { return g.key }

// Status returns what the engine knows of the peers.
func (g *Gateway) Status() wg.Status { return g.engine.Status() }

// Run serves until ctx ends, then returns nil, or until the gateway cannot go
// on, then why. All connections are closed when it returns. Call it once.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		// A peer finds the way to us by itself; this is for our way back.
		changed := func() { g.engine.NetworkChanged(func(p *packet.Path) bool { return link.HoldsTo(p, 0) }) }
		if err := link.WatchNetwork(ctx, changed); err != nil && ctx.Err() == nil {
			g.log.Debug("changes of the host's network go unnoticed", "err", err)
		}
	})
	wg.Go(func() {
		if err := g.exit.serveDNS(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("names are not answered", "err", err)
		}
	})
	err := g.engine.Run(ctx)
	cancel()
	g.exit.close()
	wg.Wait()
	return err
}

// An exit is the gateway without the tunnel: what takes the peers' connections
// and makes them on this host.
type exit struct {
	net   *netstack.Gateway
	log   *slog.Logger
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	own   []netip.Prefix // the networks in the tunnel: no exit to those
	local []netip.Addr   // the gateway's own addresses
	pings *pings         // nil: not forwarded

	resolvers   []resolver // none: no DNS
	nameservers func() ([]netip.AddrPort, error)

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	open   closers       // what handlers have open
	flows  chan struct{} // as many places as there may be UDP flows and pings
}

// newExit returns the exit of o, which has its defaults. Its network has no
// upstream yet.
func newExit(o Options) (*exit, error) {
	ctx, cancel := context.WithCancel(context.Background())
	x := &exit{
		log:         o.Logger,
		dial:        o.Dial,
		nameservers: netstack.HostNameservers,
		ctx:         ctx,
		cancel:      cancel,
		flows:       make(chan struct{}, maxFlows),
	}
	var routes []netip.Prefix
	for _, p := range o.Peers {
		routes = append(routes, p.Addresses...)
	}
	x.own = append(x.own, routes...)
	for _, p := range o.Addresses {
		x.own = append(x.own, p.Masked())
		x.local = append(x.local, p.Addr())
	}
	cfg := netstack.GatewayConfig{
		Addresses: o.Addresses,
		Routes:    routes,
		MTU:       o.MTU,
		Room:      wg.Room(o.MTU),
		TCP:       x.serveTCP,
		UDP:       x.serveUDP,
		Logger:    o.Logger,
	}
	if x.dial == nil {
		x.dial = hostDialer().DialContext
		x.pings = newPings(x)
		cfg.Ping = x.pings.forward
	}
	var err error
	if x.net, err = netstack.NewGateway(cfg); err != nil {
		cancel()
		return nil, err
	}
	if o.DNS {
		if err := x.listenDNS(ctx); err != nil {
			x.close()
			return nil, err
		}
	}
	return x, nil
}

// hostDialer makes connections from this host. A silent far end is asked after
// five minutes whether it is there: a peer may have gone without a word.
func hostDialer() *net.Dialer {
	return &net.Dialer{KeepAliveConfig: keepAlive()}
}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 5}
}

// close ends every connection and waits for their handlers.
func (x *exit) close() {
	x.cancel()
	x.open.closeAll()
	x.net.Close()
	x.open.wait()
}
