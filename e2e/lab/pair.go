package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CrowdV4 and CrowdV6 are networks of many machines behind the client of a
// [Pair]: the client is all of them.
var (
	CrowdV4 = netip.MustParsePrefix("10.77.1.0/24")
	CrowdV6 = netip.MustParsePrefix("fd77:0:0:1::/64")
)

// A Pair is two more machines with a cable of their own, like the host and the
// server: same addresses, same names of interfaces, and nothing else in common
// with them. Tests that run at the same time take one each.
type Pair struct {
	Client, Server *Namespace
}

// NewPair lays the cable. Nothing speaks on it by itself: each end knows the
// other's hardware address, and what a program sends is cut into datagrams
// before it is on the cable, as a real one would have it.
func NewPair() (*Pair, error) {
	client, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	server, err := NewNamespace()
	if err != nil {
		client.Close()
		return nil, err
	}
	p := &Pair{client, server}
	if err := p.lay(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close lets the machines go, once nothing runs on them any more.
func (p *Pair) Close() {
	p.Client.Close()
	p.Server.Close()
}

func (p *Pair) lay() error {
	if err := p.Client.Do(func() error { return lay(p.Server) }); err != nil {
		return err
	}
	if err := p.Client.Do(beACrowd); err != nil {
		return fmt.Errorf("crowd: %w", err)
	}
	if err := p.Server.Do(func() error {
		for _, r := range []struct {
			net netip.Prefix
			via netip.Addr
		}{{CrowdV4, HostV4.Addr()}, {CrowdV6, HostV6.Addr()}} {
			if err := addRoute(r.net, serverLink, r.via, netip.Addr{}); err != nil {
				return fmt.Errorf("route %v: %w", r.net, err)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return p.introduce()
}

// beACrowd makes the addresses of the crowd the caller's own.
func beACrowd() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, n := range []netip.Prefix{CrowdV4, CrowdV6} {
		r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipNet(n), Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Table: unix.RT_TABLE_LOCAL}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("local route %v: %w", n, err)
		}
	}
	return nil
}

// introduce tells each end where the other is, so that nobody has to ask, and
// has long packets cut before they are on the cable.
func (p *Pair) introduce() error {
	var client, server netlink.Link
	look := func(l *netlink.Link, name string) func() error {
		return func() (err error) {
			if *l, err = netlink.LinkByName(name); err != nil {
				return err
			}
			return netlink.LinkSetGSOMaxSegs(*l, 1)
		}
	}
	if err := p.Client.Do(look(&client, hostLink)); err != nil {
		return err
	}
	if err := p.Server.Do(look(&server, serverLink)); err != nil {
		return err
	}
	know := func(own, other netlink.Link, addrs ...netip.Addr) func() error {
		return func() error {
			for _, a := range addrs {
				n := &netlink.Neigh{
					LinkIndex: own.Attrs().Index, State: netlink.NUD_PERMANENT,
					IP: a.AsSlice(), HardwareAddr: other.Attrs().HardwareAddr,
				}
				if err := netlink.NeighSet(n); err != nil {
					return fmt.Errorf("neighbour %v: %w", a, err)
				}
			}
			return nil
		}
	}
	if err := p.Client.Do(know(client, server, ServerV4.Addr(), ServerV6.Addr())); err != nil {
		return err
	}
	return p.Server.Do(know(server, client, HostV4.Addr(), HostV6.Addr()))
}

// SetMTU changes the MTU of an interface of the caller's namespace.
func SetMTU(name string, mtu int) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetMTU(l, mtu)
}
