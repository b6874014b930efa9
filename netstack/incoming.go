package netstack

import (
	"log/slog"
)

// ICMP types, RFC 792 and RFC 4443.
const (
	icmp4EchoReply    = 0
	icmp4Unreachable  = 3
	icmp4Echo         = 8
	icmp4TimeExceeded = 11
	icmp4Parameter    = 12

	icmp6Unreachable  = 1
	icmp6TooBig       = 2
	icmp6TimeExceeded = 3
	icmp6Parameter    = 4
	icmp6Echo         = 128
	icmp6EchoReply    = 129

	icmpHeaderLen = 8
)

// incoming decides about a packet of the tunnel, of which h is filled in. It
// does not block, and allocates only to log.
func (r *router) incoming(h *header, pkt []byte, now moment) verdict {
	if !h.parse(pkt) {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	if !r.hosts.contains(h.dst) {
		r.drops[dropDestination].Add(1)
		return drop
	}
	// Nobody out there is us, nor on our loopback: a packet that says so wants
	// to be taken for one of the program's own.
	if r.hosts.contains(h.src) || h.src.IsLoopback() || h.src.IsMulticast() || h.src.IsUnspecified() {
		r.drops[dropSource].Add(1)
		return drop
	}
	if h.Later {
		return r.laterFragment(h, pkt, now)
	}
	v := r.firstOrWhole(h, now)
	if v == local && h.Fragment {
		r.localFragment.Store(uint32(now))
	}
	return v
}

// firstOrWhole decides about a packet that shows its protocol's header.
func (r *router) firstOrWhole(h *header, now moment) verdict {
	switch h.Proto {
	case protoTCP:
		return r.incomingTCP(h)
	case protoUDP:
		return r.incomingUDP(h, now)
	case protoICMP, protoICMPv6:
		return r.incomingICMP(h)
	case protoSCTP:
		// An INIT chunk (RFC 9260 §3.3.2) asks for an association, as a SYN does.
		const initChunk, commonHeaderLen = 1, 12
		if len(h.payload) <= commonHeaderLen || h.payload[commonHeaderLen] == initChunk {
			r.refuse("sctp", h)
			return drop
		}
	}
	if !r.protoSent.has(uint16(h.Proto), now) {
		r.drops[dropNotExposed].Add(1)
		return drop
	}
	return r.inwards
}

func (r *router) incomingTCP(h *header) verdict {
	// A first fragment that hides the flags could be completed by a second one
	// into a SYN: RFC 1858 §3.
	if len(h.payload) < tcpHeaderLen {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	if h.isTCPOpening() && !r.exposed.hasTCP(h.DstPort) {
		r.refuse("tcp", h)
		return drop
	}
	return r.owner(h)
}

func (r *router) incomingUDP(h *header, now moment) verdict {
	if len(h.payload) < udpHeaderLen {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	if !r.udpSent.has(h.DstPort, now) && !r.exposed.hasUDP(h.DstPort) {
		r.refuse("udp", h)
		return drop
	}
	return r.owner(h)
}

// incomingICMP lets in echo, its replies, and the errors about packets that we
// have sent. Redirects, router advertisements, neighbour discovery and the
// rest belong to a link, and a tunnel is none.
func (r *router) incomingICMP(h *header) verdict {
	if len(h.payload) < icmpHeaderLen {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	kind := h.payload[0]
	if (h.Proto == protoICMP) != h.dst.Is4() {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	if h.Proto == protoICMP {
		switch kind {
		case icmp4Echo, icmp4EchoReply:
			return r.inwards
		case icmp4Unreachable, icmp4TimeExceeded, icmp4Parameter:
			return r.incomingError(h)
		}
	} else {
		switch kind {
		case icmp6Echo, icmp6EchoReply:
			return r.inwards
		case icmp6Unreachable, icmp6TooBig, icmp6TimeExceeded, icmp6Parameter:
			return r.incomingError(h)
		}
	}
	r.drops[dropICMP].Add(1)
	return drop
}

// incomingError decides about an ICMP error by the packet that it quotes: one
// of ours goes to whoever has sent it.
func (r *router) incomingError(h *header) verdict {
	var quoted header
	if !quoted.parseQuoted(h.payload[icmpHeaderLen:]) || quoted.src != h.dst {
		r.drops[dropICMP].Add(1)
		return drop
	}
	// Seen from us the quoted packet's receiver is the far end.
	quoted.turn()
	return r.owner(&quoted)
}

// owner returns the verdict for a packet that is let in.
func (r *router) owner(h *header) verdict {
	if r.inwards == pass && r.endpoints.own(h) {
		return local
	}
	return r.inwards
}

// laterFragment decides about a fragment without the header that the rules
// are about. It is useless without its first fragment, so it may pass; but one
// that lies over the flags of a TCP header may not (RFC 3128).
func (r *router) laterFragment(h *header, pkt []byte, now moment) verdict {
	if h.Proto == protoTCP && coversTCPFlags(pkt) {
		r.drops[dropMalformed].Add(1)
		return drop
	}
	if r.inwards == pass && r.recentlyLocal(now) {
		return both
	}
	return r.inwards
}

// recentlyLocal reports whether gVisor was given a first fragment within the
// time for which a receiver waits for the others (30 s, ip_frag_time).
func (r *router) recentlyLocal(now moment) bool {
	const reassembly = 30
	last := r.localFragment.Load()
	return last != 0 && int32(uint32(now)-last) <= reassembly
}

// refuse counts a packet that asks for something that is not exposed, and logs
// the first one for each port.
func (r *router) refuse(network string, h *header) {
	r.drops[dropNotExposed].Add(1)
	refused := &r.refusedTCP
	if network == "udp" {
		refused = &r.refusedUDP
	}
	if refused.add(h.DstPort) {
		r.log.Info("packet from the tunnel dropped: its port is not exposed",
			slog.String("network", network), slog.Int("port", int(h.DstPort)), slog.String("from", h.src.String()))
	}
}
