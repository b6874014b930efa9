package launcher

import (
	"context"
	"net/netip"

	"adit/config"
	"adit/link"
	"adit/netstack"
	"adit/packet"
	"adit/wg"
)

// A carrier is one WireGuard tunnel: a network stack on its clear side, an
// engine, and what its sealed datagrams travel over. With one -c there is one;
// with several each is carried by the one before it, and the last is the
// command's.
type carrier struct {
	cfg     *config.Config
	mtu     int
	stack   *netstack.Stack
	wg      *wg.Engine
	end     context.CancelFunc
	ended   chan struct{}    // closed when the engine has ended
	err     error            // why; to be read after ended
	inner   *link.PcapWriter // of --pcap, where there is no device
	closers closers
}

// An underlay is what a carrier travels over: the host's network, or a carrier.
type underlay struct {
	// listen opens the transport.
	listen func() (wg.Transport, error)
	// resolve returns the addresses of an endpoint's name.
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// room returns how many bytes of a packet inside the tunnel fit into one
	// datagram to remote; 0 if there is no way to it.
	room func(remote netip.AddrPort) int
	// watch calls changed when the ways to the peers may have changed, until
	// ctx ends. Nil if that is known otherwise.
	watch func(ctx context.Context, changed func()) error
	// holds reports whether the way of a datagram that came is still one, when the
	// ways may have changed.
	holds func(*packet.Path) bool
}

// newCarrier makes the stack. capture is the device of the command's packets;
// nil for a carrier of carriers, which has only its own.
func newCarrier(t *tunnel, cfg *config.Config, in inside, mtu int, capture packet.Device) (*carrier, error) {
	// A stack of carriers has one socket, the next carrier's, which hears its
	// peers even when it has been silent for long.
	expose := netstack.Exposed{All: true}
	if cfg == t.cfg {
		expose = netstack.Exposed(t.e.l.Expose)
	}
	c := &carrier{cfg: cfg, mtu: mtu, ended: make(chan struct{})}
	var err error
	c.stack, err = netstack.New(netstack.Config{
		Addresses: in.addresses, Routes: in.routes,
		DNS: cfg.DNS, Search: cfg.DNSSearch,
		MTU: mtu, Capture: capture, Expose: expose, Room: wg.Room(mtu), Logger: t.e.log,
	})
	if err != nil {
		return nil, failed(err)
	}
	c.closers.add(c.stack)
	return c, nil
}

// start opens the transport and runs the engine between it and the stack.
func (c *carrier) start(under *underlay, lock *keyLock, t *tunnel) error {
	transport, err := under.listen()
	if err != nil {
		return doing("open the UDP socket", err)
	}
	device, upstream := c.recorded(c.stack.Device(), func(b *packet.Batch) { c.wg.Outbound(b) })
	c.wg, err = wg.New(wg.Config{
		PrivateKey: c.cfg.PrivateKey, Peers: peersOf(c.cfg),
		Device: device, Transport: transport,
		Resolve: under.resolve, LastTimestamp: lock.last(), SaveTimestamp: lock.save,
		Logger: t.e.log,
	})
	if err != nil {
		return failed(err)
	}
	if c.inner == nil {
		upstream = c.wg.Outbound
	}
	c.stack.SetUpstream(upstream)
	c.wg.Subscribe(t.onEvent)
	lock.settle()
	ctx, cancel := context.WithCancel(context.Background())
	c.end = cancel
	go func() {
		defer close(c.ended)
		c.err = c.wg.Run(ctx)
	}()
	if under.watch != nil {
		go func() {
			if err := under.watch(ctx, func() { c.wg.NetworkChanged(under.holds) }); err != nil {
				t.e.log.Warn("changes of the host's network go unnoticed", "err", err)
			}
		}()
	}
	return nil
}

// Close ends the engine and closes everything.
func (c *carrier) Close() error {
	if c.end != nil {
		c.end()
		<-c.ended
	}
	return c.closers.Close()
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
