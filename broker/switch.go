package broker

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A switchboard is the loopback of UDP: which socket of the run has which port of
// 127.0.0.0/8, ::1 and the program's own addresses in the tunnel. What is sent to
// those never meets a socket of the host's.
type switchboard struct {
	mu    sync.Mutex // guards what follows; before the locks of inboxes
	seats map[uint16][]*seat
}

// A seat is a place on the switchboard. It does not change.
type seat struct {
	d       *Datagram
	socket  *tunnelSocket // by which it is reached from the tunnel, if it is
	at      netip.AddrPort
	both    bool // at is ::, and IPv4 is meant too
	sharing sharing
}

// covers reports whether datagrams to addr are for the seat.
func (s *seat) covers(addr netip.Addr) bool {
	switch own := s.at.Addr(); {
	case own == addr:
		return true
	case !own.IsUnspecified():
		return false
	case own.Is4():
		return addr.Is4()
	default:
		return addr.Is6() || s.both
	}
}

// Ports that are chosen are those of the kernel's (net.ipv4.ip_local_port_range).
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// take gives d the port of at, or any if that is 0, which then nobody else has. With
// both, where at is ::, it is taken of IPv4 too. d.mu must be held.
func (w *switchboard) take(d *Datagram, socket *tunnelSocket, at netip.AddrPort, both bool) (*seat, syscall.Errno) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &seat{d: d, socket: socket, at: at, both: both}
	if at.Port() != 0 {
		s.sharing = d.shares
		if w.isTaken(s) {
			return nil, unix.EADDRINUSE
		}
		w.sit(s)
		return s, ok
	}
	const n = lastEphemeral - firstEphemeral + 1
	start := rand.N(n)
	for i := range n {
		s.at = netip.AddrPortFrom(at.Addr(), uint16(firstEphemeral+(start+i)%n))
		if !w.isTaken(s) {
			w.sit(s)
			return s, ok
		}
	}
	return nil, unix.EADDRINUSE // bind(2): all ephemeral ports are in use
}

// isTaken reports whether somebody is in the way of s. w.mu must be held.
func (w *switchboard) isTaken(s *seat) bool {
	for _, other := range w.seats[s.at.Port()] {
		if (other.covers(s.at.Addr()) || s.covers(other.at.Addr())) && !s.sharing.with(other.sharing) {
			return true
		}
	}
	return false
}

// sit enters s. w.mu must be held.
func (w *switchboard) sit(s *seat) {
	if w.seats == nil {
		w.seats = make(map[uint16][]*seat)
	}
	w.seats[s.at.Port()] = append(w.seats[s.at.Port()], s)
}

func (w *switchboard) leave(s *seat) {
	if s == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	port := s.at.Port()
	for i, other := range w.seats[port] {
		if other == s {
			w.seats[port] = append(w.seats[port][:i:i], w.seats[port][i+1:]...)
		}
	}
	if len(w.seats[port]) == 0 {
		delete(w.seats, port)
	}
}

// find returns the socket for a datagram, nil if there is none: that which is
// connected to its source comes first, then that which has exactly this address. Of
// those that share it, it is the last one, or by SO_REUSEPORT always the same for a source.
func (w *switchboard) find(from, to netip.AddrPort) (d *Datagram, exact bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	best, alike := 0, 0
	var last *seat
	for _, s := range w.seats[to.Port()] {
		switch score := s.score(from, to.Addr()); {
		case score == 0 || score < best:
		case score == best:
			last, alike = s, alike+1
		default:
			best, last, alike = score, s, 1
		}
	}
	if last == nil {
		return nil, false
	}
	if alike > 1 && last.sharing.port {
		n := spread(from) % alike
		for _, s := range w.seats[to.Port()] {
			if s.score(from, to.Addr()) == best {
				if n--; n < 0 {
					last = s
					break
				}
			}
		}
	}
	return last.d, last.at.Addr() == to.Addr()
}

// score says how well the seat is fit for a datagram, 0 if not at all.
func (s *seat) score(from netip.AddrPort, to netip.Addr) int {
	if !s.covers(to) {
		return 0
	}
	score := 2 * s.d.in.affinity(from)
	if score > 0 && s.at.Addr() == to {
		score++
	}
	return score
}

// spread is a number that differs from source to source.
func spread(from netip.AddrPort) int {
	h := uint32(from.Port())
	for _, b := range from.Addr().As16() {
		h = h*31 + uint32(b)
	}
	return int(h >> 1)
}

// deliver brings a datagram to the socket of the run, or the nameserver, that has the
// address to; false if there is none. A server of the program's own at exactly a
// nameserver's address is asked in its place.
func (b *Broker) deliver(sender *Datagram, from, to netip.AddrPort, payload []byte) bool {
	d, exact := b.udp.sw.find(from, to)
	if b.isStub(to) && !exact {
		return b.ask(sender, from, to, payload)
	}
	if d == nil {
		return false
	}
	d.in.push(tag{from, to.Addr()}, payload)
	return true
}

// sourceFor returns the address from which to is reached without the tunnel, the
// zero Addr if it is not.
func (b *Broker) sourceFor(to netip.AddrPort) netip.Addr {
	own := b.ownAddress(to.Addr())
	switch {
	case to.Addr().IsLoopback(), b.isStub(to) && !own.IsValid():
		return loopbackOf(to.Addr())
	case b.isOwn(to.Addr()):
		return to.Addr()
	case b.isStub(to):
		return own
	}
	return netip.Addr{}
}

// ownAddress returns the program's first address of like's family, the zero Addr if
// the tunnel has none.
func (b *Broker) ownAddress(like netip.Addr) netip.Addr {
	for _, a := range b.cfg.Addresses {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// loopbackOf returns the loopback address of like's family.
func loopbackOf(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}
