package netstack

import (
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Ports that gVisor takes for its own connections: those that a Linux kernel
// does not take for the program's (net.ipv4.ip_local_port_range ends at 60999).
const (
	firstLocalPort = 61000
	lastLocalPort  = 65535
)

// endpoints knows which flows are gVisor's. It asks gVisor's own table, which
// cannot be out of date, but only for ports that come into question.
type endpoints struct {
	net   *stack.Stack
	bound portSet // ports below firstLocalPort that were asked for by number
}

// own reports whether an endpoint of gVisor waits for the packet of h. It does
// not allocate.
func (e *endpoints) own(h *header) bool {
	if h.DstPort == 0 || h.DstPort < firstLocalPort && !e.bound.has(h.DstPort) {
		return false
	}
	var transport tcpip.TransportProtocolNumber
	switch h.Proto {
	case protoTCP:
		transport = gheader.TCPProtocolNumber
	case protoUDP:
		transport = gheader.UDPProtocolNumber
	default:
		return false
	}
	id := stack.TransportEndpointID{
		LocalPort:     h.DstPort,
		LocalAddress:  toAddress(h.dst),
		RemotePort:    h.SrcPort,
		RemoteAddress: toAddress(h.src),
	}
	return e.net.FindTransportEndpoint(networkProtocol(h.dst), transport, id, nicID) != nil
}
