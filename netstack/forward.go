package netstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// maxInFlight is how many TCP connections may be between their SYN and their
// last handshake segment. A scanner behind one peer must not make the others
// wait, and a connection that is dialled to a silent host stays for minutes.
const maxInFlight = 8192

// A GatewayConfig says what a Gateway is.
type GatewayConfig struct {
	Addresses []netip.Prefix // the gateway's own addresses in the tunnel
	Routes    []netip.Prefix // where its peers are: AllowedIPs of all of them
	MTU       int            // of the tunnel. If zero, 1420
	Room      packet.Room    // what the engine wants around packets

	// TCP is called, in a goroutine of its own, for each TCP connection to an
	// address that is not the gateway's own, before the handshake is answered.
	// It has to call Accept or Refuse of r, once.
	TCP func(r *TCPRequest)

	// UDP is called, in a goroutine of its own, for the first datagram of each
	// flow to an address that is not the gateway's own. It has to close f.
	UDP func(f *UDPFlow)

	// Ping is called for each echo request to an address that is not the
	// gateway's own. It must not block or keep r.Message. If nil, those are
	// dropped.
	Ping func(r PingRequest)

	Logger *slog.Logger // nil: discard
}

// A Gateway is the network at the other end of a tunnel: it takes connections
// to any address and gives them to its handlers. Its own addresses answer echo
// requests and have only the listeners that were asked for.
type Gateway struct {
	s   *Stack
	cfg GatewayConfig

	mu sync.Mutex // guards inFlight
	// inFlight has the headers of the SYN of each TCPRequest.
	inFlight map[stack.TransportEndpointID][]byte
}

// NewGateway returns a Gateway. Nothing leaves it before [Gateway.SetUpstream].
func NewGateway(cfg GatewayConfig) (*Gateway, error) {
	if cfg.TCP == nil || cfg.UDP == nil {
		return nil, errors.New("make a gateway: no handlers")
	}
	s, err := newStack(Config{
		Addresses: cfg.Addresses,
		Routes:    cfg.Routes,
		MTU:       cfg.MTU,
		Room:      cfg.Room,
		Logger:    cfg.Logger,
	}, true)
	if err != nil {
		return nil, fmt.Errorf("make a gateway: %w", err)
	}
	g := &Gateway{s: s, cfg: cfg, inFlight: make(map[stack.TransportEndpointID][]byte)}
	s.filterIncoming = g.filter
	s.link.sent = nil
	s.net.SetTransportProtocolHandler(tcp.ProtocolNumber, g.handleTCP(tcp.NewForwarder(s.net, 0, maxInFlight+1, g.forwardTCP)))
	s.net.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s.net, g.forwardUDP).HandlePacket)
	return g, nil
}

// Device returns the side that faces the engine: what is written to it comes
// out of the tunnel. Read only waits for Close.
func (g *Gateway) Device() packet.Device { return g.s.Device() }

// SetUpstream says where packets to the peers go, see [Stack.SetUpstream].
func (g *Gateway) SetUpstream(f func(*packet.Batch)) { g.s.SetUpstream(f) }

// Listen accepts TCP connections to one of the gateway's own addresses.
func (g *Gateway) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return g.s.Listen(ctx, network, address)
}

// ListenPacket makes a UDP socket at one of the gateway's own addresses.
func (g *Gateway) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return g.s.ListenPacket(ctx, network, address)
}

// Close ends everything, see [Stack.Close]. Handlers that run get errors.
func (g *Gateway) Close() error { return g.s.Close() }

// filter gives the packets of b to gVisor or to the handler of pings. It leaves
// none for a program: there is none.
func (g *Gateway) filter(b *packet.Batch) int {
	var h header
	now := g.s.router.now()
	in := g.s.link.receive(b)
	for i := range b.Len() {
		if pkt := b.Packet(i); len(pkt) > 0 && g.admit(&h, pkt, now) {
			in.add(b, i)
		}
	}
	in.end()
	return 0
}

// admit reports whether pkt is gVisor's, and deals with it otherwise. That its
// source is one of the peer's addresses is the engine's business (AllowedIPs).
func (g *Gateway) admit(h *header, pkt []byte, now moment) bool {
	r := &g.s.router
	switch {
	case !h.parse(pkt):
		r.drops[dropMalformed].Add(1)
		return false
	case r.hosts.contains(h.src), h.src.IsLoopback(), h.src.IsMulticast(), h.src.IsUnspecified():
		r.drops[dropSource].Add(1)
		return false
	case h.dst.IsMulticast(), h.dst == broadcast4, h.dst.IsUnspecified(), r.broadcasts.contains(h.dst):
		r.drops[dropLink].Add(1)
		return false
	case h.dst.Unmap().IsLoopback(): // gVisor would drop it without a word
		g.sendUnreachable(pkt, prohibited(h.dst), now)
		return false
	case r.hosts.contains(h.dst), h.Proto == protoTCP, h.Proto == protoUDP:
		return true
	case h.Proto == protoICMP && h.dst.Is4(), h.Proto == protoICMPv6 && h.dst.Is6():
		return g.admitICMP(h)
	}
	code := uint8(packet.UnreachProtocol)
	if h.dst.Is6() {
		code = prohibited(h.dst) // ICMPv6 has none about a protocol
	}
	g.sendUnreachable(pkt, code, now)
	return false
}

// prohibited returns the ICMP code for what a peer may not reach.
func prohibited(dst netip.Addr) uint8 {
	if dst.Is4() {
		return packet.UnreachProhibited
	}
	return packet.UnreachProhibited6
}

// admitICMP lets errors pass to gVisor, which knows whether it has sent what
// they quote. Echo requests to others must not: gVisor would answer them itself.
func (g *Gateway) admitICMP(h *header) bool {
	if h.Fragment || len(h.payload) < icmpHeaderLen {
		g.s.router.drops[dropICMP].Add(1)
		return false
	}
	switch kind := h.payload[0]; {
	case h.dst.Is4() && kind == icmp4Echo, h.dst.Is6() && kind == icmp6Echo:
		if g.cfg.Ping != nil {
			g.cfg.Ping(PingRequest{Source: h.src, Destination: h.dst, Message: h.payload, g: g})
		}
		return false
	case h.dst.Is4() && (kind == icmp4Unreachable || kind == icmp4TimeExceeded || kind == icmp4Parameter):
		return true
	case h.dst.Is6() && kind >= icmp6Unreachable && kind <= icmp6Parameter:
		return true
	}
	g.s.router.drops[dropICMP].Add(1)
	return false
}

// sendUnreachable sends the ICMP error about pkt, a peer's packet or the head
// of one, and reports whether it was within the limit.
func (g *Gateway) sendUnreachable(pkt []byte, code uint8, now moment) bool {
	if !g.s.icmpErrors.allow(now) {
		return false
	}
	var buf [packet.MaxUnreachable]byte
	if msg := packet.AppendUnreachable(buf[:0], pkt, netip.Addr{}, code); len(msg) > 0 {
		g.s.link.send(msg)
	}
	return true
}

// refusal returns the code of the ICMP error that stands for err, as the router
// at which the way ends would send it. None: the far end itself has refused.
func refusal(err error, v6 bool) (code uint8, ok bool) {
	code4, code6 := uint8(0), uint8(0)
	switch {
	case errors.Is(err, syscall.ENETUNREACH):
		code4, code6 = packet.UnreachNet, packet.UnreachNoRoute6
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EHOSTDOWN):
		code4, code6 = packet.UnreachHost, packet.UnreachAddress6
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		code4, code6 = packet.UnreachProhibited, packet.UnreachProhibited6
	default:
		return 0, false
	}
	if v6 {
		return code6, true
	}
	return code4, true
}
