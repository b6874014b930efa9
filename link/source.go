package link

import (
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
	if !remote.Is4() {
		return !local.IsValid() || isOurs6(local, p.IfIndex)
	}
	options := &netlink.RouteGetOptions{Mark: mark}
	if local.IsValid() {
		options.SrcAddr = net.IP(local.AsSlice())
	}
	routes, err := netlink.RouteGetWithOptions(net.IP(remote.AsSlice()), options)
	if err != nil || len(routes) == 0 {
		return false // EINVAL: not ours
	}
	return p.Arrived == 0 || routes[0].LinkIndex == int(p.Arrived)
}

// isOurs6 reports whether a socket can have the IPv6 address, on the interface if that is
// not 0.
func isOurs6(addr netip.Addr, ifIndex uint32) bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: addr.As16(), ZoneId: ifIndex}) == nil
}
