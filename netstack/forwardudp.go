package netstack

import (
	"encoding/binary"
	"net/netip"

	"adit/packet"

	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A UDPFlow is what a peer sends from one address to another: a connected
// socket at the destination's address, whose Read gives the peer's datagrams
// and whose Write answers them.
type UDPFlow struct {
	PacketConn
	g        *Gateway
	src, dst netip.AddrPort
}

// Source returns the peer's address.
func (f *UDPFlow) Source() netip.AddrPort { return f.src }

// Destination returns where the peer sends to.
func (f *UDPFlow) Destination() netip.AddrPort { return f.dst }

// Refuse tells the peer that its datagrams do not arrive, and why: as
// [TCPRequest.Refuse], but what would be a RST there is "port unreachable".
func (f *UDPFlow) Refuse(err error) {
	if isTimeout(err) {
		return
	}
	code, routed := refusal(err, f.dst.Addr().Is6())
	if !routed {
		code = packet.UnreachPort
		if f.dst.Addr().Is6() {
			code = packet.UnreachPort6
		}
	}
	f.g.sendUnreachable(datagramHead(f.src, f.dst), code, f.g.s.router.now())
}

// datagramHead returns the headers of an empty datagram: all that an ICMP error
// need quote for a socket to be found.
func datagramHead(src, dst netip.AddrPort) []byte {
	pkt, udp := newPacket(src.Addr(), dst.Addr(), protoUDP, udpHeaderLen)
	binary.BigEndian.PutUint16(udp, src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], udpHeaderLen)
	return pkt
}

// forwardUDP is gVisor's handler of datagrams that no endpoint waits for. The
// endpoint is made here, so that the next datagram finds it.
func (g *Gateway) forwardUDP(r *udp.ForwarderRequest) (handled bool) {
	id := r.ID()
	src := netip.AddrPortFrom(fromAddress(id.RemoteAddress), id.RemotePort)
	dst := netip.AddrPortFrom(fromAddress(id.LocalAddress), id.LocalPort)
	if g.s.router.hosts.contains(dst.Addr()) {
		return false // nobody listens here: gVisor answers with "port unreachable"
	}
	if src.Port() == 0 || dst.Port() == 0 {
		return true // nobody can answer
	}
	wq := new(waiter.Queue)
	ep, err := r.CreateEndpoint(wq)
	if err != nil {
		g.s.log.Debug("datagram lost", "from", src, "to", dst, "err", errnoOf(err))
		return true
	}
	flow := &UDPFlow{PacketConn: PacketConn{endpoint: newEndpoint("udp", ep, wq), stack: g.s}, g: g, src: src, dst: dst}
	go g.cfg.UDP(flow)
	return true
}
