package netstack

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A TCPRequest is a peer's connection whose SYN has not been answered yet, so
// that the peer can be told what has become of the connection behind the
// gateway. Until then further SYNs of it are not answered either.
type TCPRequest struct {
	g    *Gateway
	r    *tcp.ForwarderRequest
	id   stack.TransportEndpointID
	syn  []byte // its headers
	once sync.Once
}

// Source returns where the peer's connection comes from.
func (r *TCPRequest) Source() netip.AddrPort {
	return netip.AddrPortFrom(fromAddress(r.id.RemoteAddress), r.id.RemotePort)
}

// Destination returns where the peer wants to go.
func (r *TCPRequest) Destination() netip.AddrPort {
	return netip.AddrPortFrom(fromAddress(r.id.LocalAddress), r.id.LocalPort)
}

// Accept answers the SYN and returns the connection when the peer has
// completed the handshake.
func (r *TCPRequest) Accept() (c Conn, err error) {
	err = net.ErrClosed
	r.once.Do(func() {
		defer r.g.endRequest(r.id)
		wq := new(waiter.Queue)
		ep, e := r.r.CreateEndpoint(wq)
		r.r.Complete(false)
		if e != nil {
			err = opError("accept", "tcp", nil, net.TCPAddrFromAddrPort(r.Source()), sysError("accept", e))
			return
		}
		c, err = Conn{newEndpoint("tcp", ep, wq)}, nil
	})
	return c, err
}

// Refuse tells the peer that there is no connection, and why: what a router
// would say if err is about the way (ENETUNREACH, EHOSTUNREACH, EACCES); nothing
// if it is a timeout, which the peer then has too; else RST, as the far end
// itself would say it.
func (r *TCPRequest) Refuse(err error) {
	r.once.Do(func() {
		defer r.g.endRequest(r.id)
		code, routed := refusal(err, r.Destination().Addr().Is6())
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
			r.r.Complete(false)
		case routed && r.g.sendUnreachable(r.syn, code, r.g.s.router.now()):
			r.r.Complete(false)
		default:
			r.r.Complete(true)
		}
	})
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// handleTCP returns gVisor's handler of segments that no endpoint waits for. It
// keeps what gVisor's forwarder does not: the SYN, for an ICMP error to quote.
func (g *Gateway) handleTCP(f *tcp.Forwarder) func(stack.TransportEndpointID, *stack.PacketBuffer) bool {
	return func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		segment := gheader.TCP(pkt.TransportHeader().Slice())
		if len(segment) < tcpHeaderLen || segment[13]&(tcpSYN|tcpACK) != tcpSYN ||
			g.s.router.hosts.contains(fromAddress(id.LocalAddress)) {
			return false // no such connection: gVisor answers with a RST
		}
		if !g.beginRequest(id, slices.Concat(pkt.NetworkHeader().Slice(), segment)) {
			return true
		}
		if !f.HandlePacket(id, pkt) {
			g.endRequest(id)
			return false
		}
		return true
	}
}

// beginRequest keeps the SYN of a new request. It reports false if there is one
// with that id, or if there are too many: then the SYN is lost, as on any
// overloaded host, and comes again.
func (g *Gateway) beginRequest(id stack.TransportEndpointID, syn []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.inFlight[id]; known || len(g.inFlight) >= maxInFlight {
		return false
	}
	g.inFlight[id] = syn
	return true
}

func (g *Gateway) endRequest(id stack.TransportEndpointID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.inFlight, id)
}

// forwardTCP is called by gVisor's forwarder in a goroutine of its own.
func (g *Gateway) forwardTCP(fr *tcp.ForwarderRequest) {
	id := fr.ID()
	g.mu.Lock()
	syn := g.inFlight[id]
	g.mu.Unlock()
	g.cfg.TCP(&TCPRequest{g: g, r: fr, id: id, syn: syn})
}
