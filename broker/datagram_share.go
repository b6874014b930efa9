package broker

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A sharing is with whom a UDP socket shares its port (socket(7)): with those that have
// the same flag.
type sharing struct {
	address bool // SO_REUSEADDR: the last one that was bound gets what comes
	port    bool // SO_REUSEPORT: each gets what comes from some
}

func (s sharing) with(other sharing) bool {
	return s.address && other.address || s.port && other.port
}

// sharing returns what the program has said of the socket, of which fd is the near end.
func (d *Datagram) sharing(fd int) sharing {
	address, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	return sharing{err == nil && address != 0, d.opts.isOn(unix.SOL_SOCKET, unix.SO_REUSEPORT)}
}

// A tunnelSocket is a UDP socket in the tunnel, of one of the program's sockets or of
// several that share it. Each closes it once.
type tunnelSocket struct {
	net.PacketConn

	mu     sync.Mutex // guards what follows
	users  int
	shared bool // there was more than one
}

// join adds a user, unless there is none any more.
func (s *tunnelSocket) join() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return false
	}
	s.users++
	s.shared = true
	return true
}

func (s *tunnelSocket) isShared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shared
}

func (s *tunnelSocket) Close() error {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	return s.PacketConn.Close()
}

// joinTunnel returns the socket in the tunnel of another one that is bound to at and
// shares it with d, nil if there is none.
func (d *Datagram) joinTunnel(at netip.AddrPort, both bool) *tunnelSocket {
	if at.Port() == 0 {
		return nil
	}
	w := &d.b.udp.sw
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seats[at.Port()] {
		if s.at == at && s.both == both && s.sharing.with(d.shares) && s.socket != nil && s.socket.join() {
			return s.socket
		}
	}
	return nil
}

// endClosed ends the sockets at a port that the program has closed: that comes to be
// known a moment later than close(2) returns. No lock of a Datagram must be held.
func (b *Broker) endClosed(port uint16) {
	w := &b.udp.sw
	w.mu.Lock()
	var there []*Datagram
	for _, s := range w.seats[port] {
		there = append(there, s.d)
	}
	w.mu.Unlock()
	for _, d := range there {
		closed := false
		d.raw.Control(func(fd uintptr) { closed = isHungUp(int(fd)) })
		if closed {
			d.drainNow()
			d.end()
		}
	}
}
