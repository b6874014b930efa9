package flood

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The most that a flood may be, whatever was asked for: a mistake in a test must
// not take the machine.
const (
	maxRate = 20_000
	maxFor  = 60 * time.Second
)

// burst is how often datagrams are sent, all that are due at once: what fills
// queues is not the rate but how many come together.
const burst = 50 * time.Millisecond

// A Flood is what is sent to one responder.
type Flood struct {
	To      netip.AddrPort
	From    []netip.AddrPort // sources in turn, port 0 is any; they are the caller's machine's
	Message func(random *rand.Rand) []byte
	Rate    int           // datagrams a second
	For     time.Duration // how long, unless the context ends sooner
}

// A Source sends. It holds one socket for each address.
type Source struct {
	f     Flood
	conns []*net.UDPConn
}

// Open opens the sockets, in the network namespace of the calling thread. They
// may have addresses that no interface has, as long as a route makes them local.
func Open(f Flood) (*Source, error) {
	if f.Rate <= 0 || f.Rate > maxRate || f.For <= 0 || f.For > maxFor {
		return nil, fmt.Errorf("a flood of %d a second for %v: want at most %d for %v", f.Rate, f.For, maxRate, maxFor)
	}
	s := &Source{f: f}
	anywhere := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		control := c.Control(func(fd uintptr) {
			if f.To.Addr().Is4() {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
			}
		})
		if control != nil {
			return control
		}
		return err
	}}
	network := "udp6"
	if f.To.Addr().Is4() {
		network = "udp4"
	}
	for _, from := range f.From {
		c, err := anywhere.ListenPacket(context.Background(), network, from.String())
		if err != nil {
			s.Close()
			return nil, err
		}
		s.conns = append(s.conns, c.(*net.UDPConn))
	}
	return s, nil
}

// Close closes the sockets. Replies to them were never read.
func (s *Source) Close() {
	for _, c := range s.conns {
		c.Close()
	}
}

// Run sends until the time is over or ctx ends, and returns how many datagrams
// were sent. A machine that is too busy sends fewer.
func (s *Source) Run(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, s.f.For)
	defer cancel()
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	tick := time.NewTicker(burst)
	defer tick.Stop()
	sent := 0
	for {
		for range s.f.Rate * int(burst) / int(time.Second) {
			c := s.conns[sent%len(s.conns)]
			// What the network does not take is lost, as in a real flood.
			c.WriteToUDPAddrPort(s.f.Message(random), s.f.To)
			sent++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sent
		}
	}
}

// Ports returns n sources of one address.
func Ports(a netip.Addr, n int) []netip.AddrPort {
	list := make([]netip.AddrPort, n)
	for i := range list {
		list[i] = netip.AddrPortFrom(a, 0)
	}
	return list
}

// Addresses returns n sources with random addresses of a network, none of them
// twice.
func Addresses(network netip.Prefix, n int) []netip.AddrPort {
	seen := map[netip.Addr]bool{}
	var list []netip.AddrPort
	for len(list) < n {
		b := network.Addr().AsSlice()
		for i := network.Bits() / 8; i < len(b); i++ {
			b[i] = byte(rand.Uint32())
		}
		a, _ := netip.AddrFromSlice(b)
		if last := b[len(b)-1]; seen[a] || last == 0 || last == 255 {
			continue
		}
		seen[a] = true
		list = append(list, netip.AddrPortFrom(a, 0))
	}
	return list
}

// Sources returns where the datagrams come from.
func (s *Source) Sources() map[netip.AddrPort]bool {
	list := map[netip.AddrPort]bool{}
	for _, c := range s.conns {
		list[c.LocalAddr().(*net.UDPAddr).AddrPort()] = true
	}
	return list
}
