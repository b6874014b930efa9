package wg

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"adit/packet"
)

// A peer is all that is known about one peer.
type peer struct {
	key      PublicKey
	lowOrder bool // whoever has key shares a secret with everybody: never spoken to

	// current is what packets are sent in, path where to. They are written
	// under mu and read without.
	current atomic.Pointer[session]
	path    atomic.Pointer[packet.Path]

	mu         sync.Mutex // guards what follows; held for a handshake message at most, never over I/O
	self       *identity  // whose peer it is: all that follows from our key goes with it
	static     [32]byte   // DH(our private, their public): the same in every handshake
	met        bool       // there was a session with self
	psk        PresharedKey
	endpoint   Endpoint         // as configured
	candidates []netip.AddrPort // what endpoint stands for
	tryAll     bool             // send initiations to all candidates, not to path alone
	resolving  bool             // the shell is asking for the endpoint's addresses
	unresolved int              // how often in a row the name had no addresses
	left       *packet.Path     // a way that the host's routes have left: no source is taken from it
	removed    bool

	handshake *initiation // in flight
	jar       cookieJar
	previous  *session // was current
	upcoming  *session // we responded; becomes current with the first message in it ("next" in §6.3)
	timers    timers
	staged    [][]byte // oldest first

	accepted       timestamp // of the last initiation that was accepted
	lastInitiation Instant   // when that was

	lastHandshake Instant // when a session was last completed; kept when the session goes
	rtt           time.Duration
	rx, tx        uint64 // bytes of authenticated datagrams

	scheduled Instant // the agenda's entry is at or before this; 0: there is none

	agendaAt  Instant // guarded by agenda.mu
	agendaPos int     // likewise
}

// bind makes p, which was another identity's, a peer of id. p.mu must be held.
func (p *peer) bind(id *identity) {
	clear(p.static[:])
	p.self = id
	if !id.none && !p.lowOrder {
		p.static, _ = id.dh((*[32]byte)(&p.key))
	}
}

// mute reports whether no handshake with the peer is possible: we have no key,
// or theirs is one that shares its secrets with everybody (noise.c: no
// static-static secret, no message).
func (p *peer) mute() bool { return p.self.none || p.lowOrder }

// reachable reports whether there is, or may soon be, a way to the peer.
func (p *peer) reachable() bool {
	return !p.lowOrder && (p.path.Load() != nil || len(p.candidates) > 0 || p.endpoint.Host != "")
}

// roam remembers the way of an authenticated message and reports whether the
// far end moved. Cookie replies must not come here: only a
// "correctly authenticated packet" tells where a peer is (§2.1).
func (p *peer) roam(way *packet.Path) bool {
	old := p.path.Load()
	if old.Equal(way) {
		return false
	}
	if p.left != nil && p.left.Local == way.Local && p.left.Arrived == way.Arrived && p.left.Remote.Addr() == way.Remote.Addr() {
		// It was sent before the peer knew, or the peer does not follow.
		if old != nil && old.Remote == way.Remote && !old.HasSource() {
			return false
		}
		way = &packet.Path{Remote: way.Remote}
	}
	p.path.Store(way)
	return old == nil || old.Remote != way.Remote
}

// forgetSource lets the kernel choose our address again: the cached one may
// have gone (socket.c, wg_socket_clear_peer_endpoint_src).
func (p *peer) forgetSource() {
	if w := p.path.Load(); w != nil && w.HasSource() {
		p.path.Store(&packet.Path{Remote: w.Remote})
	}
}

// ways returns where to send an initiation.
func (p *peer) ways() []*packet.Path {
	var ways []*packet.Path
	known := p.path.Load()
	if known != nil {
		ways = append(ways, known)
		if !p.tryAll {
			return ways
		}
	}
	for _, c := range p.candidates {
		if known == nil || known.Remote != c {
			ways = append(ways, &packet.Path{Remote: c})
		}
	}
	return ways
}

// touch tells the agenda if the peer's earliest deadline is now earlier than
// it knows. A peer that was removed has none, whoever is still sending to it.
func (p *peer) touch(a *agenda) {
	if at := p.timers.next(); !p.removed && at != 0 && (p.scheduled == 0 || at < p.scheduled) {
		p.scheduled = at
		a.schedule(p, at)
	}
}
