package link

import (
	"errors"
	"net"
	"net/netip"

	"adit/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HoldsTo reports whether Linux would go on to answer along p, a way that a datagram has
// come, when the host's routes have changed (drivers/net/wireguard/socket.c, send4 and
// send6): if the address that it came to is still ours and, over IPv4, if what is sent from
// there leaves by the interface where it came in. mark is that of the socket.
func HoldsTo(p *packet.Path, mark uint32) bool {
	remote, local := p.Remote.Addr().Unmap(), p.Local.Unmap()
	if local.IsValid() && !isOurs(local, p.IfIndex) {
		return false
	}
	if !remote.Is4() {
		return true
	}
	options := &netlink.RouteGetOptions{Mark: mark}
	if local.IsValid() {
		options.SrcAddr = net.IP(local.AsSlice())
	}
	routes, err := netlink.RouteGetWithOptions(net.IP(remote.AsSlice()), options)
	if err != nil || len(routes) == 0 {
		return !errors.Is(err, unix.EINVAL) // else there is no route just now, or no answer
	}
	// What this host sends to itself has come in at lo, and says it came where the
	// address is.
	return p.Arrived == 0 || routes[0].LinkIndex == int(p.Arrived) || routes[0].Type == unix.RTN_LOCAL
}

// isOurs reports whether a socket can have the address, on the interface if that is
// not 0.
func isOurs(addr netip.Addr, ifIndex uint32) bool {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16(), ZoneId: ifIndex})
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
