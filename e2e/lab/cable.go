package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The cable's ends and what is behind them. The services of the server have
// their addresses on its lo, so that they are reached through the tunnel and,
// by a program that leaks, without it: a leak succeeds and is seen.
var (
	HostV4   = netip.MustParsePrefix("10.77.0.2/24")
	HostV6   = netip.MustParsePrefix("fd77::2/64")
	ServerV4 = netip.MustParsePrefix("10.77.0.1/24")
	ServerV6 = netip.MustParsePrefix("fd77::1/64")

	// NameserverV4 is what the host's resolv.conf names, NameserverV6 the same
	// server. They are not on the cable's own networks: wireguard-go would
	// answer from the newest address of its interface.
	NameserverV4 = netip.MustParseAddr("10.78.0.53")
	NameserverV6 = netip.MustParseAddr("fd78::53")

	ServiceV4 = netip.MustParseAddr("10.9.0.1")
	ServiceV6 = netip.MustParseAddr("fd09::1")
	// ElsewhereV4 and ElsewhereV6 have the same services, and lie outside of
	// the tunnel's own networks: "the internet".
	ElsewhereV4 = netip.MustParseAddr("198.51.100.1")
	ElsewhereV6 = netip.MustParseAddr("2001:db8:51::1")
	// TunnelV4 and TunnelV6 are the networks that the server sends into the
	// tunnel.
	TunnelV4 = netip.MustParsePrefix("10.9.0.0/24")
	TunnelV6 = netip.MustParsePrefix("fd09::/64")
)

// The cable's interfaces.
const (
	hostLink   = "eth0"
	serverLink = "eth0"
	detourLink = "eth1"
)

// lay connects the host, which is the caller's namespace, and the server.
func lay(server *Namespace) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = hostLink
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: serverLink, PeerNamespace: netlink.NsFd(int(server.f.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	if err := server.Do(layServer); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if err := layEnd(hostLink, HostV4, HostV6); err != nil {
		return fmt.Errorf("host: %w", err)
	}
	for _, via := range []netip.Prefix{ServerV4, ServerV6} {
		if err := addRoute(netip.Prefix{}, hostLink, via.Addr(), netip.Addr{}); err != nil {
			return fmt.Errorf("default route via %v: %w", via.Addr(), err)
		}
	}
	return nil
}

// LayDetour joins the host, which is the caller's namespace, and the server by another
// cable. From then on the host reaches the server's IPv4 address over it, from addr,
// and the server addr. What is returned removes it.
func (l *Lab) LayDetour(addr netip.Addr) (remove func() error, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = detourLink
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: detourLink, PeerNamespace: netlink.NsFd(l.Server.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("add veth: %w", err)
	}
	server, host := ServerV4.Addr(), netip.PrefixFrom(addr, addr.BitLen())
	err = l.Server.Do(func() error {
		// Its address is here too, or the kernel would ask for the host's as another.
		if err := layEnd(detourLink, netip.PrefixFrom(server, server.BitLen())); err != nil {
			return err
		}
		return addRoute(host, detourLink, netip.Addr{}, server)
	})
	if err == nil {
		err = layEnd(detourLink, host)
	}
	if err == nil {
		err = addRoute(netip.PrefixFrom(server, server.BitLen()), detourLink, netip.Addr{}, addr)
	}
	remove = func() error { return netlink.LinkDel(veth) }
	if err != nil {
		remove()
	}
	return remove, err
}

// layServer sets up the server's end; the caller is in its namespace.
func layServer() error {
	if err := layEnd(serverLink, ServerV4, ServerV6); err != nil {
		return err
	}
	for _, a := range []netip.Addr{ServiceV4, ServiceV6, ElsewhereV4, ElsewhereV6, NameserverV4, NameserverV6} {
		if err := addAddr("lo", netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	return nil
}

// layEnd brings up lo and one end of the cable. Everything that would make
// the kernel speak by itself (router solicitations, link-local addresses,
// detection of duplicates) is turned off: the leak oracle wants silence.
func layEnd(name string, addrs ...netip.Prefix) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/igmpv3_unsolicited_report_interval", []byte("1"), 0); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"accept_ra": "0", "router_solicitations": "0", "accept_dad": "0", "addr_gen_mode": "1",
		"mldv1_unsolicited_report_interval": "1", "mldv2_unsolicited_report_interval": "1",
	} {
		path := "/proc/sys/net/ipv6/conf/" + name + "/" + key
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return err
		}
	}
	for _, n := range []string{"lo", name} {
		l, err := netlink.LinkByName(n)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("%s up: %w", n, err)
		}
	}
	for _, a := range addrs {
		if err := addAddr(name, a); err != nil {
			return err
		}
	}
	return nil
}

// addAddr gives the interface an address, without duplicate detection.
func addAddr(name string, a netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(l, addr); err != nil {
		return fmt.Errorf("add %v to %s: %w", a, name, err)
	}
	return nil
}

// addRoute adds a route; the zero Prefix is everything of via's family. via and
// src may be zero.
func addRoute(dst netip.Prefix, name string, via, src netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index}
	if dst.IsValid() {
		r.Dst = ipNet(dst)
	}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	if src.IsValid() {
		r.Src = src.AsSlice()
	}
	return netlink.RouteReplace(r)
}

// BringUp makes a new TUN of the caller's namespace usable: up, with the
// addresses, and with routes to the networks. src is the preferred source of
// each route's family.
func BringUp(name string, addrs, routes []netip.Prefix, src ...netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := addAddr(name, a); err != nil {
			return err
		}
	}
	for _, r := range routes {
		var from netip.Addr
		for _, s := range src {
			if s.Is4() == r.Addr().Is4() {
				from = s
			}
		}
		if err := addRoute(r, name, netip.Addr{}, from); err != nil {
			return fmt.Errorf("route %v dev %s: %w", r, name, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// DisableIPv6 makes the host one that has no IPv6; the server keeps it.
func DisableIPv6() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
}

// EnableIPv6 undoes [DisableIPv6]: the kernel has forgotten addresses and routes.
func EnableIPv6() error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0); err != nil {
		return err
	}
	if err := layEnd(hostLink, HostV6); err != nil {
		return err
	}
	return addRoute(netip.Prefix{}, hostLink, ServerV6.Addr(), netip.Addr{})
}

// Readdress gives the host another IPv4 address in place of the one it has.
func Readdress(from, to netip.Prefix) error {
	l, err := netlink.LinkByName(hostLink)
	if err != nil {
		return err
	}
	if err := netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(from)}); err != nil {
		return fmt.Errorf("remove %v: %w", from, err)
	}
	if err := addAddr(hostLink, to); err != nil {
		return err
	}
	return addRoute(netip.Prefix{}, hostLink, ServerV4.Addr(), netip.Addr{})
}
