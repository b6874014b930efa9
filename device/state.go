package device

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"adit/wg"
)

// A state is what the device was told to be. It has no I/O and no lock.
type state struct {
	key    wg.PrivateKey
	public wg.PublicKey // of key; zero: there is none
	port   uint16       // 0: any
	mark   uint32
	peers  map[wg.PublicKey]*peer
	owners map[netip.Prefix]owner // an allowed IP belongs to one peer
	count  uint64                 // of peers and allowed IPs that ever came: their order
}

// A peer is one that the device was told of.
type peer struct {
	key       wg.PublicKey
	order     uint64
	psk       wg.PresharedKey
	endpoint  netip.AddrPort // as told, or, once the device was down, where the peer was last
	keepalive uint16         // seconds
	allowed   int            // how many of owners are this peer's

	// What the engine counted before it was last made to forget the peer.
	rx, tx    uint64
	handshake time.Time
	accepted  [12]byte // the latest initiation: older ones are replays
}

type owner struct {
	peer  *peer
	order uint64
}

func newState() *state {
	return &state{peers: make(map[wg.PublicKey]*peer), owners: make(map[netip.Prefix]owner)}
}

// An applied says which peers of the engine's are not what their configuration
// alone would tell.
type applied struct {
	renewed map[wg.PublicKey]bool // gone and come again: they begin anew
	moved   map[wg.PublicKey]bool // told where they are, perhaps again
	key     bool                  // there is another private key
}

// apply makes the change. The port and the mark are the caller's business, who
// may be refused them.
func (s *state) apply(c *change) applied {
	a := applied{renewed: make(map[wg.PublicKey]bool), moved: make(map[wg.PublicKey]bool)}
	gone := make(map[wg.PublicKey]bool)
	if c.replacePeers {
		for k := range s.peers {
			gone[k] = true
		}
		clear(s.peers)
		clear(s.owners)
	}
	if c.privateKey != nil && !c.privateKey.Equal(s.key) {
		a.key = true
		s.key, s.public = *c.privateKey, wg.PublicKey{}
		if !s.key.IsZero() {
			s.public = s.key.Public()
			s.remove(s.public) // a tunnel to ourselves: netlink.c
		}
	}
	for i := range c.peers {
		pc := &c.peers[i]
		k := pc.publicKey
		p := s.peers[k]
		switch {
		case pc.remove:
			if p != nil {
				gone[k] = true
				s.remove(k)
			}
			continue
		case p == nil && pc.updateOnly || k == s.public && !s.key.IsZero():
			continue
		case p == nil:
			a.renewed[k] = gone[k]
			p = s.add(k)
		}
		a.moved[k] = a.moved[k] || pc.endpoint != nil
		s.configure(p, pc)
	}
	return a
}

func (s *state) add(k wg.PublicKey) *peer {
	s.count++
	p := &peer{key: k, order: s.count}
	s.peers[k] = p
	return p
}

func (s *state) configure(p *peer, c *peerChange) {
	if c.presharedKey != nil {
		p.psk = *c.presharedKey
	}
	if c.endpoint != nil {
		p.endpoint = *c.endpoint
	}
	if c.keepalive != nil {
		p.keepalive = *c.keepalive
	}
	if c.replaceAllowedIPs {
		s.disown(p)
	}
	for _, a := range c.allowedIPs {
		o, owned := s.owners[a.prefix]
		switch {
		case a.remove && o.peer != p || !a.remove && o.peer == p:
			continue
		case owned:
			o.peer.allowed--
			delete(s.owners, a.prefix)
		}
		if !a.remove {
			s.count++
			s.owners[a.prefix] = owner{p, s.count}
			p.allowed++
		}
	}
}

func (s *state) remove(k wg.PublicKey) {
	if p := s.peers[k]; p != nil {
		s.disown(p)
		delete(s.peers, k)
	}
}

// disown takes all allowed IPs away from p.
func (s *state) disown(p *peer) {
	if p.allowed > 0 {
		maps.DeleteFunc(s.owners, func(_ netip.Prefix, o owner) bool { return o.peer == p })
		p.allowed = 0
	}
}

// ordered returns the peers in the order in which they came.
func (s *state) ordered() []*peer {
	return slices.SortedFunc(maps.Values(s.peers), func(p, q *peer) int { return cmp.Compare(p.order, q.order) })
}

// allowedIPs returns the prefixes of each peer in the order in which they came.
func (s *state) allowedIPs() map[*peer][]netip.Prefix {
	type owned struct {
		owner
		prefix netip.Prefix
	}
	all := make([]owned, 0, len(s.owners))
	for p, o := range s.owners {
		all = append(all, owned{o, p})
	}
	slices.SortFunc(all, func(a, b owned) int { return cmp.Compare(a.order, b.order) })
	byPeer := make(map[*peer][]netip.Prefix, len(s.peers))
	for _, o := range all {
		byPeer[o.peer] = append(byPeer[o.peer], o.prefix)
	}
	return byPeer
}

// config returns the peers as the engine takes them.
func (s *state) config() []wg.Peer {
	list := make([]wg.Peer, 0, len(s.peers))
	allowed := s.allowedIPs()
	for _, p := range s.ordered() {
		c := wg.Peer{
			PublicKey: p.key, PresharedKey: p.psk, AllowedIPs: allowed[p],
			Keepalive: time.Duration(p.keepalive) * time.Second, Accepted: p.accepted,
		}
		if p.endpoint.IsValid() {
			c.Endpoint = endpointAt(p.endpoint)
		}
		list = append(list, c)
	}
	return list
}

func endpointAt(a netip.AddrPort) wg.Endpoint {
	return wg.Endpoint{Host: a.Addr().String(), Port: a.Port()}
}

// settle takes over what the engine knows about the peers, before it is made to
// forget them.
func (s *state) settle(st wg.Status) {
	for _, ps := range st.Peers {
		if p := s.peers[ps.PublicKey]; p != nil {
			p.merge(ps)
		}
	}
}

func (p *peer) merge(ps wg.PeerStatus) {
	p.rx += ps.RxBytes
	p.tx += ps.TxBytes
	// The engine tells how long ago it was: that the sum differs by a little
	// is no handshake.
	if t := ps.LastHandshake; !t.IsZero() && t.Sub(p.handshake).Abs() > time.Second/2 {
		p.handshake = t
	}
	if ps.Endpoint.IsValid() {
		p.endpoint = ps.Endpoint
	}
	p.accepted = ps.Accepted
}

// report returns the answer to a get operation. It keeps the time of the last
// handshake, and nothing else, of what the engine knows.
func (s *state) report(st wg.Status) report {
	r := report{privateKey: s.key, listenPort: s.port, fwMark: s.mark, peers: make([]peerReport, 0, len(s.peers))}
	known := make(map[wg.PublicKey]wg.PeerStatus, len(st.Peers))
	for _, ps := range st.Peers {
		known[ps.PublicKey] = ps
	}
	allowed := s.allowedIPs()
	for _, p := range s.ordered() {
		now := *p
		now.merge(known[p.key])
		p.handshake = now.handshake
		pr := peerReport{
			publicKey: p.key, presharedKey: p.psk, endpoint: now.endpoint, tx: now.tx, rx: now.rx,
			keepalive: p.keepalive, allowedIPs: allowed[p],
		}
		if !now.handshake.IsZero() {
			pr.handshake = now.handshake.UnixNano()
		}
		r.peers = append(r.peers, pr)
	}
	return r
}
