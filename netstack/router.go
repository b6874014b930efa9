package netstack

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// Why the router has left out a packet, for the counters.
const (
	dropMalformed   = iota // not well formed, or made to fool a filter
	dropSource             // its source has no business on this side
	dropDestination        // its destination is not on the other side
	dropLink               // it was never to leave its link
	dropUnroutable         // the tunnel does not cover its destination
	dropNotExposed         // nobody asked for it
	dropICMP               // an ICMP message that no tunnel needs, or no flow of ours
	nDrops
)

// A router holds the rules, and the little that they have to remember. Its
// sets do not change once made; the rest is atomic. Safe for concurrent use.
type router struct {
	hosts      prefixes // the tunnel's own addresses
	routes     prefixes // what the tunnel covers
	broadcasts prefixes // of the networks of the own addresses
	exposed    exposure
	inwards    verdict // for what is let in: pass with a capture, local without
	log        *slog.Logger
	start      time.Time

	// endpoints are asked only where there is a capture: without one
	// everything is gVisor's.
	endpoints *endpoints

	udpSent       recent        // by port
	protoSent     recent        // by protocol number
	localFragment atomic.Uint32 // moment at which gVisor was last given a first fragment
	refusedTCP    portSet       // logged already
	refusedUDP    portSet
	drops         [nDrops]atomic.Uint64
}

// Stats are numbers of packets that the router has left out, by the reason.
type Stats struct {
	Malformed   uint64 // not well formed, or made to fool a filter
	Source      uint64 // from an address that has no business on its side
	Destination uint64 // to an address that is not on the other side
	Link        uint64 // never meant to leave their link: multicast, broadcast
	Unroutable  uint64 // to what the tunnel does not cover
	NotExposed  uint64 // from the tunnel, and nobody had asked for them
	ICMP        uint64 // ICMP that no tunnel needs
}

func (r *router) stats() Stats {
	n := func(why int) uint64 { return r.drops[why].Load() }
	return Stats{n(dropMalformed), n(dropSource), n(dropDestination), n(dropLink), n(dropUnroutable), n(dropNotExposed), n(dropICMP)}
}

// now returns the moment for a batch.
func (r *router) now() moment {
	return moment(time.Since(r.start)/time.Second) + 1
}

// newBroadcasts returns the broadcast addresses of the networks of list. Networks
// of one or two addresses have none (RFC 3021), IPv6 has none at all.
func newBroadcasts(list []netip.Prefix) prefixes {
	var all []netip.Prefix
	for _, p := range list {
		if p.Addr().Is4() && p.Bits() < 31 {
			all = append(all, netip.PrefixFrom(lastAddr(p.Masked()), 32))
		}
	}
	return newPrefixes(all)
}

// Exposed says which ports of the program are reached from the tunnel. The
// zero Exposed lets nobody in.
type Exposed struct {
	All bool     // every port of TCP and UDP
	TCP []uint16 // these ports of TCP
	UDP []uint16
}

// exposure is an Exposed that answers in one look.
type exposure struct {
	all      bool
	tcp, udp portSet
}

func (e *exposure) fill(from Exposed) {
	e.all = from.All
	for _, port := range from.TCP {
		e.tcp.add(port)
	}
	for _, port := range from.UDP {
		e.udp.add(port)
	}
}

func (e *exposure) hasTCP(port uint16) bool { return e.all || e.tcp.has(port) }
func (e *exposure) hasUDP(port uint16) bool { return e.all || e.udp.has(port) }
