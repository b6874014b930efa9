package netstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/tcpip"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// nicID is gVisor's number of the one interface.
const nicID tcpip.NICID = 1

// maxBuffer is the size in bytes to which a connection's buffers may grow: 8 MiB
// fill a path of 1 Gbit/s and 60 ms.
const maxBuffer = 8 << 20

// firstSendBuffer is how many bytes of a new connection wait to be sent at most.
// gVisor lets it grow to twice the congestion window, and takes nothing back: a
// thousand connections that are all written to have what they need, not a GiB.
const firstSendBuffer = 256 << 10

// A Config says what a Stack is: the inner side of one tunnel.
type Config struct {
	Addresses []netip.Prefix // the tunnel's own addresses (the program's)
	Routes    []netip.Prefix // what the tunnel covers: AllowedIPs of all peers
	DNS       []netip.Addr   // nameservers, asked through the tunnel
	Search    []string       // search domains
	MTU       int            // of the tunnel, 68 to 65535. If zero, 1420
	Capture   packet.Device  // the program's packets; nil where programs have none of their own
	Expose    Exposed        // ports reached from the tunnel
	Room      packet.Room    // what the engine wants around packets
	Logger    *slog.Logger   // nil: discard
}

// A Stack is the network of one tunnel: the router, and the endpoints behind
// it. All methods are safe for concurrent use.
type Stack struct {
	router    router
	capture   packet.Device
	mtu       int
	net       *stack.Stack
	endpoints endpoints
	link      *link
	senders   *senderPool
	log       *slog.Logger

	icmpErrors limiter

	// filterIncoming deals with what comes out of the tunnel and returns how
	// many packets are left for the program. It does not change after New.
	filterIncoming func(*packet.Batch) int

	resolver  resolver
	addresses []netip.Prefix // Config.Addresses

	closeOnce sync.Once
	closed    chan struct{} // closed by closeDevice
	stopOnce  sync.Once
	stopped   chan struct{} // closed by Close
}

// New returns the Stack of a tunnel. Nothing reaches the tunnel before
// [Stack.SetUpstream]. The Stack owns cfg.Capture from now on, also when New
// returns an error.
func New(cfg Config) (*Stack, error) {
	s, err := newStack(cfg, false)
	if err != nil {
		if cfg.Capture != nil {
			cfg.Capture.Close()
		}
		return nil, fmt.Errorf("make the network stack: %w", err)
	}
	return s, nil
}

// newStack returns a Stack; anyAddress says that it takes packets to every
// address, and answers from it.
func newStack(cfg Config, anyAddress bool) (*Stack, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("the tunnel has no address")
	}
	// RFC 791 §3.2 and §3.1: what every host takes, and what the length can say.
	if cfg.MTU != 0 && (cfg.MTU < 68 || cfg.MTU > 65535) {
		return nil, fmt.Errorf("an MTU of %d is not possible", cfg.MTU)
	}
	s := &Stack{
		capture:   cfg.Capture,
		mtu:       cfg.MTU,
		senders:   &senderPool{room: cfg.Room},
		log:       cfg.Logger,
		resolver:  resolver{search: cfg.Search},
		addresses: cfg.Addresses,
		closed:    make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	if s.mtu == 0 {
		s.mtu = 1420
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, server := range cfg.DNS {
		s.resolver.list = append(s.resolver.list, netip.AddrPortFrom(server, dnsPort))
	}
	s.resolver.dial = func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
		if network == "tcp" {
			return s.dialTCP(ctx, network, server, func() {})
		}
		return s.dialUDP(network, server)
	}
	s.fillRouter(cfg)
	s.filterIncoming = s.routeIncoming
	s.link = &link{senders: s.senders, sent: s.noteSent}
	s.link.mtu.Store(uint32(s.mtu))
	s.startNet(s.router.hosts.has6() || anyAddress, anyAddress)
	if err := s.configureNet(cfg, anyAddress); err != nil {
		s.net.Destroy()
		return nil, err
	}
	return s, nil
}

func (s *Stack) fillRouter(cfg Config) {
	r := &s.router
	r.hosts = newHosts(cfg.Addresses)
	r.routes = newPrefixes(cfg.Routes)
	r.broadcasts = newBroadcasts(cfg.Addresses)
	r.exposed.fill(cfg.Expose)
	r.log = s.log
	r.start = time.Now()
	r.endpoints = &s.endpoints
	r.udpSent = make(recent, 1<<16)
	r.protoSent = make(recent, 1<<8)
	r.inwards = local
	if cfg.Capture != nil {
		r.inwards = pass
	}
}

// startNet makes gVisor's stack.
func (s *Stack) startNet(with6, anyAddress bool) {
	opts := stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
		// Connections to our own addresses stay inside. But where every address
		// is ours, packets from everywhere would be taken for our own.
		HandleLocal: !anyAddress,
	}
	if with6 {
		opts.NetworkProtocols = append(opts.NetworkProtocols, ipv6.NewProtocol)
		opts.TransportProtocols = append(opts.TransportProtocols, icmp.NewProtocol6)
	}
	silenceGVisor()
	s.net = stack.New(opts)
	s.endpoints.net = s.net
}

// configureNet sets gVisor's options, its one interface, addresses and routes.
func (s *Stack) configureNet(cfg Config, anyAddress bool) error {
	if err := s.tuneTCP(); err != nil {
		return err
	}
	if cfg.Capture != nil { // else there is no kernel to stay apart from
		if err := s.net.SetPortRange(firstLocalPort, lastLocalPort); err != nil {
			return fmt.Errorf("set port range: %s", err)
		}
	}
	if err := s.net.CreateNIC(nicID, s.link); err != nil {
		return fmt.Errorf("create interface: %s", err)
	}
	if anyAddress {
		if err := s.net.SetPromiscuousMode(nicID, true); err != nil {
			return fmt.Errorf("take packets to any address: %s", err)
		}
		if err := s.net.SetSpoofing(nicID, true); err != nil {
			return fmt.Errorf("answer from any address: %s", err)
		}
	}
	if err := s.addAddresses(cfg.Addresses); err != nil {
		return err
	}
	s.net.SetRouteTable(s.routeTable(anyAddress))
	return nil
}

// tuneTCP sets what differs from gVisor's defaults.
func (s *Stack) tuneTCP() error {
	sack := tcpip.TCPSACKEnabled(true)
	// RACK stalls connections that lose packets: tailscale/tailscale#9707.
	recovery := tcpip.TCPRecovery(0)
	// Cubic leaves slow start when the delay grows (HyStart), where reno fills
	// every buffer on the way and then spends its time on finding out what was
	// lost. Its overflow, google/gvisor#11632, is mended.
	congestion := tcpip.CongestionControlOption("cubic")
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcp.DefaultReceiveBufferSize, Max: maxBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: firstSendBuffer, Max: maxBuffer}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &congestion, &moderate, &receive, &send} {
		if err := s.net.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("set TCP option %T: %s", o, err)
		}
	}
	return nil
}

func (s *Stack) addAddresses(list []netip.Prefix) error {
	for _, p := range list {
		addr := tcpip.ProtocolAddress{
			Protocol:          networkProtocol(p.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: toAddress(p.Addr()), PrefixLen: p.Addr().BitLen()},
		}
		err := s.net.AddProtocolAddress(nicID, addr, stack.AddressProperties{})
		if _, twice := err.(*tcpip.ErrDuplicateAddress); err != nil && !twice {
			return fmt.Errorf("add address %v: %s", p, err)
		}
	}
	return nil
}

// routeTable returns gVisor's routes: one to everything for each family that the
// tunnel covers anything of and that there is an address to send from. What the
// tunnel covers is asked of the router before anything is sent: gVisor looks
// through its routes one by one, and takes minutes for a hundred thousand.
func (s *Stack) routeTable(anyAddress bool) (table []tcpip.Route) {
	r := &s.router
	if r.routes.has4() && (r.hosts.has4() || anyAddress) {
		table = append(table, tcpip.Route{Destination: gheader.IPv4EmptySubnet, NIC: nicID})
	}
	if r.routes.has6() && (r.hosts.has6() || anyAddress) {
		table = append(table, tcpip.Route{Destination: gheader.IPv6EmptySubnet, NIC: nicID})
	}
	return table
}

// Device returns the side of the router that faces the engine. Read gives the
// program's packets, Write takes those of the tunnel.
func (s *Stack) Device() packet.Device { return device{s} }

// SetUpstream says where packets of this Stack's own connections go: to the
// engine's Outbound. f may be called from any goroutine, also from within
// Write of [Stack.Device], and must not write to the Device itself: gVisor
// holds locks while it sends. Without it those packets are lost.
func (s *Stack) SetUpstream(f func(*packet.Batch)) {
	if f == nil {
		s.link.upstream.Store(nil)
		return
	}
	s.link.upstream.Store(&f)
}

// Stats returns what the router has left out so far.
func (s *Stack) Stats() Stats { return s.router.stats() }

// noteSent remembers a packet of gVisor's, so that its answer is let in.
func (s *Stack) noteSent(pkt []byte) {
	var h header
	if h.parse(pkt) {
		s.router.noteSent(&h, s.router.now())
	}
}

// closeDevice ends the way between capture and tunnel, and gVisor's into it: the
// engine may forget its keys once it has closed its Device.
func (s *Stack) closeDevice() {
	s.closeOnce.Do(func() {
		s.link.upstream.Store(nil)
		close(s.closed)
		if s.capture != nil {
			s.capture.Close()
		}
	})
}

// Close ends everything: connections are aborted, waiting calls return, the
// capture is closed. It returns when no goroutine of the Stack is left.
func (s *Stack) Close() error {
	s.stopOnce.Do(func() {
		close(s.stopped)
		s.net.Destroy() // while a RST still finds its way
		s.closeDevice()
	})
	return nil
}
