package link

import (
	"errors"
	"net"

	"adit/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HoldsTo reports whether Linux would go on to answer along p, a way that a datagram has
// come, when the host's routes have changed (drivers/net/wireguard/socket.c, send4 and
// send6): if the address that it came to is still ours and, over IPv4, if what is sent from
// there leaves by the interface where it came in. mark is that of the socket.
func HoldsTo(p *packet.Path, mark uint32) bool {
	return isOurs(p) && (!p.Remote.Addr().Unmap().Is4() || leavesWhereItCame(p, mark))
}

// Leads reports the same for who goes where the host's routes are best, of either family:
// a host that has come into another network has its old addresses for some time.
func Leads(p *packet.Path) bool { return isOurs(p) && leavesWhereItCame(p, 0) }

// leavesWhereItCame reports whether what is sent along p leaves by the interface where p
// came in.
func leavesWhereItCame(p *packet.Path, mark uint32) bool {
	if p.IfIndex != 0 {
		return true // it is on that link
	}
	options := &netlink.RouteGetOptions{Mark: mark}
	if local := p.Local.Unmap(); local.IsValid() {
		options.SrcAddr = net.IP(local.AsSlice())
	}
	routes, err := netlink.RouteGetWithOptions(net.IP(p.Remote.Addr().Unmap().AsSlice()), options)
	if err != nil || len(routes) == 0 {
		return !errors.Is(err, unix.EINVAL) // else there is no route just now, or no answer
	}
	// What this host sends to itself has come in at lo, and says it came where the
	// address is.
	return p.Arrived == 0 || routes[0].LinkIndex == int(p.Arrived) || routes[0].Type == unix.RTN_LOCAL
}

// isOurs reports whether a socket can have the address that p came to, on its interface
// if that is not 0.
func isOurs(p *packet.Path) bool {
	addr := p.Local.Unmap()
	if !addr.IsValid() {
		return true
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16(), ZoneId: p.IfIndex})
	if addr.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: addr.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true // nobody knows
	}
	defer unix.Close(fd)
	return unix.Bind(fd, sa) == nil
}
