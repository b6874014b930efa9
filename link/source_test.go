package link

import (
	"net"
	"net/netip"
	"testing"

	"adit/packet"

	"github.com/vishvananda/netlink"
)

// A way is held to while its answer would leave where it came in, from an address that
// is still ours; over IPv6, wherever it would leave.
func TestWayIsHeldToAsLinuxDoes(t *testing.T) {
	s := newSpace(t)
	index := map[string]uint32{}
	ours := []string{"10.1.0.1/24", "fd00:1::1/64", "10.2.0.1/24", "fd00:2::1/64"}
	cable := func(name string, addrs ...string) {
		s.do("make "+name, func() error {
			pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "far"}
			if err := netlink.LinkAdd(pair); err != nil {
				return err
			}
			if err := linkUp(name + "far"); err != nil {
				return err
			}
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			index[name] = uint32(l.Attrs().Index)
			for _, a := range addrs {
				addr, err := netlink.ParseAddr(a)
				if err == nil {
					addr.Flags |= 0x02 // IFA_F_NODAD
					err = netlink.AddrAdd(l, addr)
				}
				if err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(l)
		})
	}
	cable("d1", ours[:2]...)
	cable("d2", ours[2:]...)
	way := func(remote, local, arrived string) *packet.Path {
		return &packet.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(remote), 1), Local: netip.MustParseAddr(local), Arrived: index[arrived]}
	}
	want := func(when string, want bool, p *packet.Path) {
		t.Helper()
		s.do("look", func() error {
			if got := HoldsTo(p, 0); got != want {
				t.Errorf("%s: %+v: got %v, want %v", when, *p, got, want)
			}
			if p.Remote.Addr().Is4() || !want {
				if got := Leads(p); got != want {
					t.Errorf("%s: %+v: leads there: got %v, want %v", when, *p, got, want)
				}
			}
			return nil
		})
	}
	want("at first", true, way("10.1.0.2", "10.1.0.1", "d1"))
	want("at first", true, way("fd00:1::2", "fd00:1::1", "d1"))
	want("an address of another interface", true, way("10.1.0.2", "10.2.0.1", "d1"))
	want("came in elsewhere", false, way("10.1.0.2", "10.1.0.1", "d2"))
	want("came in, nobody knows where", true, &packet.Path{Remote: netip.MustParseAddrPort("10.1.0.2:1"), Local: netip.MustParseAddr("10.1.0.1")})
	want("to this host itself", true, way("10.2.0.1", "10.1.0.1", "d1"))
	want("no route at all", true, way("192.0.2.1", "10.1.0.1", "d1"))
	s.do("a better route", func() error {
		for _, dst := range []string{"10.1.0.2", "fd00:1::2"} {
			ip := net.ParseIP(dst)
			bits := 128
			if ip.To4() != nil {
				bits = 32
			}
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: int(index["d2"]), Dst: &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}}); err != nil {
				return err
			}
		}
		return nil
	})
	want("another route", false, way("10.1.0.2", "10.1.0.1", "d1"))
	want("another route", true, way("fd00:1::2", "fd00:1::1", "d1"))
	s.do("look", func() error {
		for _, dst := range []string{"fd00:1::2", "fd00:1::3"} {
			if p := way(dst, "fd00:1::1", "d1"); Leads(p) != (dst == "fd00:1::3") {
				t.Errorf("another route to fd00:1::2: leads to %s: got %v", dst, Leads(p))
			}
		}
		return nil
	})
	want("not its route", true, way("10.1.0.3", "10.1.0.1", "d1"))
	s.do("take the addresses away", func() error {
		l, err := netlink.LinkByName("d1")
		if err != nil {
			return err
		}
		for _, a := range ours[:2] {
			addr, err := netlink.ParseAddr(a)
			if err == nil {
				err = netlink.AddrDel(l, addr)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	want("not ours any more", false, way("10.2.0.2", "10.1.0.1", "d2"))
	want("not ours any more", false, way("fd00:2::2", "fd00:1::1", "d2"))
}
