package netstack

import (
	"net/netip"
)

// A verdict is what becomes of a packet.
type verdict uint8

const (
	pass        verdict = iota // goes on to the other side, untouched
	drop                       // is left out
	local                      // is given to gVisor
	both                       // is given to gVisor, and goes on
	unreachable                // is left out, and its sender told so
)

// outgoing decides about a packet of the program, of which h is filled in.
// It neither allocates nor blocks.
func (r *router) outgoing(h *header, pkt []byte, now moment) verdict {
	if !h.parse(pkt) {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	// What a kernel says to its link when an interface comes up (router
	// solicitations, MLD, mDNS) has no receiver at the other end of a tunnel.
	// It would match ::/0, make a handshake, and wake a radio.
	if staysOnLink(h.dst) || r.broadcasts.contains(h.dst) {
		r.drops[dropLink].Add(1)
		return drop
	}
	// A socket that was bound before the address changed, or to an address of
	// a bridge: its packets would tell the peer about the host's networks.
	if !r.hosts.contains(h.src) {
		r.drops[dropSource].Add(1)
		return drop
	}
	if r.hosts.contains(h.dst) { // the program's kernel keeps these to itself
		r.drops[dropDestination].Add(1)
		return drop
	}
	if !r.routes.contains(h.dst) {
		r.drops[dropUnroutable].Add(1)
		return unreachable
	}
	r.noteSent(h, now)
	return pass
}

// noteSent remembers that h has left, so that its answer is let in.
func (r *router) noteSent(h *header, now moment) {
	switch {
	case h.Later:
	case h.Proto == protoUDP:
		r.udpSent.sent(h.SrcPort, now)
	case h.Proto != protoTCP:
		r.protoSent.sent(uint16(h.Proto), now)
	}
}

// staysOnLink reports whether packets to addr never leave a link: multicast of
// the scopes interface and link, broadcast, and nothing at all.
func staysOnLink(addr netip.Addr) bool {
	return addr.IsLinkLocalMulticast() || addr.IsInterfaceLocalMulticast() ||
		addr == broadcast4 || addr.IsUnspecified()
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
