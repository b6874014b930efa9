package oracle

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An Oracle is a capture that is running.
type Oracle struct {
	endpoints []netip.AddrPort
	rest, own int // packet sockets: all but the tunnel's datagrams, and those alone
	dns       []netip.Addr
	loopback  bool // TCP on lo is not looked at
}

// A Report says what an [Oracle] has seen.
type Report struct {
	Tunnel   int      // datagrams between the tunnel's ends, super-packets counted as one
	Leaks    []string // every packet that should not have been there, decoded
	DNS      []string // names asked of the nameservers that were allowed
	Innocent int      // address resolution, errors about the tunnel's own datagrams
}

// An Option widens what is allowed.
type Option func(*Oracle)

// AllowDNS lets DNS messages to and from the nameservers pass; their questions
// are listed in the report instead.
func AllowDNS(servers ...netip.Addr) Option {
	return func(o *Oracle) { o.dns = append(o.dns, servers...) }
}

// AllowLoopbackTCP leaves TCP between loopback addresses on lo out of sight: in the
// modes without namespaces the command's connections are made there, and go on
// through the tunnel.
func AllowLoopbackTCP() Option {
	return func(o *Oracle) { o.loopback = true }
}

// Watch starts to watch the network namespace of the calling thread. Only
// WireGuard messages to and from the endpoints are allowed.
func Watch(endpoints []netip.AddrPort, opts ...Option) (*Oracle, error) {
	o := &Oracle{endpoints: endpoints, rest: -1, own: -1}
	for _, opt := range opts {
		opt(o)
	}
	var err error
	if o.rest, err = o.capture(false); err != nil {
		return nil, err
	}
	if o.own, err = o.capture(true); err != nil {
		unix.Close(o.rest)
		return nil, err
	}
	return o, nil
}

// capture opens a packet socket on every interface; see [tunnelFilter] for own.
// Protocol 0 keeps it deaf until the filter is in place: packet(7).
func (o *Oracle) capture(own bool) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket(AF_PACKET)", err)
	}
	filter, err := tunnelFilter(o.endpoints, own, o.loopback)
	if err == nil {
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err = os.NewSyscallError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
	}
	if err == nil && !own {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20) != nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<20) // as much as there is
		}
	}
	if err == nil {
		all := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)}
		err = os.NewSyscallError("bind(AF_PACKET)", unix.Bind(fd, &all))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Wait waits until a packet that is not a datagram of the tunnel has been seen,
// and reports whether there was one in time.
func (o *Oracle) Wait(timeout time.Duration) bool {
	for end := time.Now().Add(timeout); ; {
		fds := []unix.PollFd{{Fd: int32(o.rest), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(end)).Milliseconds()))
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}

// Stop ends the capture. A packet sent before Stop was called is in the report:
// the kernel queues it on the socket before it goes on.
func (o *Oracle) Stop() (Report, error) {
	defer unix.Close(o.rest)
	defer unix.Close(o.own)
	var r Report
	stats, err := unix.GetsockoptTpacketStats(o.own, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return r, os.NewSyscallError("getsockopt(PACKET_STATISTICS)", err)
	}
	r.Tunnel = int(stats.Packets)
	buf := make([]byte, 1<<18)
	for {
		n, from, err := unix.Recvfrom(o.rest, buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			break
		}
		if err == unix.EINTR || err == unix.ENETDOWN { // an interface went away
			continue
		}
		if err != nil {
			return r, os.NewSyscallError("recvfrom", err)
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			return r, fmt.Errorf("recvfrom: source is a %T", from)
		}
		o.judge(&r, ll, buf[:n])
	}
	stats, err = unix.GetsockoptTpacketStats(o.rest, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return r, os.NewSyscallError("getsockopt(PACKET_STATISTICS)", err)
	}
	if stats.Drops > 0 {
		r.Leaks = append(r.Leaks, fmt.Sprintf("%d more packets that the capture had no room for", stats.Drops))
	}
	return r, nil
}

// judge enters one packet into the report.
func (o *Oracle) judge(r *Report, ll *unix.SockaddrLinklayer, pkt []byte) {
	p := parse(htons(ll.Protocol), pkt)
	switch {
	case o.isInnocent(p):
		r.Innocent++
	case o.isAllowedDNS(p):
		if q := p.question(); q != "" && ll.Pkttype == unix.PACKET_OUTGOING {
			r.DNS = append(r.DNS, q)
		}
	default:
		r.Leaks = append(r.Leaks, interfaceName(ll.Ifindex)+" "+direction(ll.Pkttype)+" "+p.String())
	}
}

func interfaceName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return fmt.Sprintf("if%d", index)
}

func direction(pktType uint8) string {
	if pktType == unix.PACKET_OUTGOING {
		return "out"
	}
	return "in"
}

// String returns the leaks, one a line, the first few of many.
func (r Report) String() string {
	const most = 20
	lines := r.Leaks
	if len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("… and %d more", len(r.Leaks)-most))
	}
	return strings.Join(lines, "\n")
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
