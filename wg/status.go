package wg

import (
	"bytes"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// A Status is what an Engine knows at one moment.
type Status struct {
	PublicKey PublicKey    // ours; zero without a private key
	Peers     []PeerStatus // in the order of their keys
	Drops     Drops
}

// A PeerStatus is what is known about one peer.
type PeerStatus struct {
	PublicKey     PublicKey
	Endpoint      netip.AddrPort   // where datagrams go; zero if not known
	Candidates    []netip.AddrPort // what the configured endpoint stands for
	LastHandshake time.Time        // zero if there was none
	HandshakeRTT  time.Duration    // from our last initiation to its response; 0 if we never initiated
	Up            bool             // there is a session to send in
	Attempts      int              // initiations sent since the last session
	RxBytes       uint64           // of datagrams that were taken
	TxBytes       uint64           // of datagrams
	Staged        int              // packets that wait for a session
	Accepted      [12]byte         // timestamp of the last initiation accepted from it, see Peer
}

// Drops counts what was thrown away, by cause.
type Drops struct {
	NoPeer       uint64 // packets routed to no peer, initiations from strangers
	NoEndpoint   uint64 // packets for a peer whose address nobody knows
	Staged       uint64 // packets that waited for a session in vain
	Malformed    uint64 // no IP packet, no WireGuard message
	NoSession    uint64 // messages for an unknown receiver index
	BadMAC       uint64 // handshake messages by someone who does not know our key
	BadTag       uint64 // messages that are not authentic
	Replayed     uint64 // messages seen before, or too old to tell
	SourceDenied uint64 // packets from an address that is not the peer's
	UnderLoad    uint64 // handshakes put off or refused under load
	SendFailed   uint64 // calls of Transport.Write that reported an error
}

// drops is Drops while it counts.
type drops struct {
	noPeer, noEndpoint, staged, malformed, noSession, badMAC, badTag,
	replayed, sourceDenied, underLoad, sendFailed atomic.Uint64
}

func (d *drops) snapshot() Drops {
	return Drops{
		NoPeer: d.noPeer.Load(), NoEndpoint: d.noEndpoint.Load(), Staged: d.staged.Load(),
		Malformed: d.malformed.Load(), NoSession: d.noSession.Load(), BadMAC: d.badMAC.Load(),
		BadTag: d.badTag.Load(), Replayed: d.replayed.Load(), SourceDenied: d.sourceDenied.Load(),
		UnderLoad: d.underLoad.Load(), SendFailed: d.sendFailed.Load(),
	}
}

// Status returns a snapshot. Safe for concurrent use.
func (e *Engine) Status() Status {
	now, wall := e.clock.now(), time.Now()
	s := Status{PublicKey: e.core.self.Load().public, Drops: e.core.drops.snapshot()}
	for _, p := range e.core.roster.Load().byKey {
		s.Peers = append(s.Peers, p.status(now, wall))
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int {
		return bytes.Compare(a.PublicKey[:], b.PublicKey[:])
	})
	return s
}

func (p *peer) status(now Instant, wall time.Time) PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PeerStatus{
		PublicKey: p.key, Candidates: slices.Clone(p.candidates), HandshakeRTT: p.rtt,
		Up: p.current.Load().sendable(now), Attempts: p.timers.failures,
		RxBytes: p.rx, TxBytes: p.tx, Staged: len(p.staged), Accepted: p.accepted,
	}
	if w := p.path.Load(); w != nil {
		s.Endpoint = w.Remote
	}
	if p.lastHandshake != 0 {
		s.LastHandshake = wall.Add(-p.lastHandshake.since(now))
	}
	return s
}
