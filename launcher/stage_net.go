package launcher

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"adit/link"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deviceName is the name of the tunnel's device in the command's namespace.
const deviceName = "adit0"

// The addresses of the veth pair's ends on the wire between them. Nothing owns
// vethGateway: the frames that the command's kernel sends to it are for nobody
// but the packet socket.
var (
	vethApp     = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}
	vethEngine  = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x02}
	vethGateway = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfe}
)

// The next hops of the veth path. Link-local, never seen outside of the pair.
var (
	vethNextHop4 = netip.MustParseAddr("169.254.1.1")
	vethNextHop6 = netip.MustParseAddr("fe80::1")
)

// furnishNetwork sets up the links of the namespace and returns the descriptor
// of the device: a TUN, or where that cannot be had a packet socket on the far
// end of a veth pair. The report says which.
func furnishNetwork(c *stageConfig, r *stageReport) (int, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return -1, step("open a netlink socket", err)
	}
	defer h.Close()
	if err := loopbackUp(h); err != nil {
		return -1, err
	}
	before(c)
	file, err := link.OpenTUN(deviceName, c.MTU)
	veth := err != nil
	if veth {
		r.NoTUN = err.Error()
		file, err = makeVeth(h, c.MTU)
		if err != nil {
			return -1, err
		}
	}
	r.Device = map[bool]string{false: "tun", true: "veth"}[veth]
	if err := configureLink(h, c, veth, r); err != nil {
		return -1, err
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	file.Close()
	return fd, step("keep the device", err)
}

func loopbackUp(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return step("find lo", err)
	}
	return step("set lo up", h.LinkSetUp(lo))
}

// before sets what has to be set before the device exists, so that it is born
// silent: no address of its own, no router solicitation. A host without IPv6,
// or with /proc/sys read-only, has nothing to set or nothing to say.
func before(c *stageConfig) {
	group := os.Getegid()
	for path, value := range map[string]string{
		"ipv4/ip_unprivileged_port_start":        "0",
		"ipv4/ping_group_range":                  fmt.Sprintf("%d %d", group, group),
		"ipv6/conf/default/accept_ra":            "0",
		"ipv6/conf/default/router_solicitations": "0",
		"ipv6/conf/default/addr_gen_mode":        "1",
		"ipv6/conf/default/dad_transmits":        "0",
		"ipv6/conf/default/disable_ipv6":         "0",
	} {
		if path == "ipv4/ping_group_range" && c.Inner {
			value = pingGroupsOfRoot()
		}
		writeSysctl(path, value)
	}
	if err := writeSysctl("ipv6/conf/lo/disable_ipv6", "0"); err == nil {
		addLoopback6()
	}
}

// pingGroupsOfRoot is the widest range of groups of our own map: with all ids
// mapped, any of them may be the command's.
func pingGroupsOfRoot() string {
	m, err := ownMap("/proc/self/gid_map")
	if err != nil || len(m) == 0 {
		return "0 0"
	}
	return fmt.Sprintf("%d %d", m[0].ContainerID, m[0].ContainerID+m[0].Size-1)
}

// addLoopback6 makes sure that lo has ::1: an interface that came up with IPv6
// disabled got none.
func addLoopback6() {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		if a, err := netlink.ParseAddr("::1/128"); err == nil {
			netlink.AddrAdd(lo, a) // it is there already: good
		}
	}
}

func writeSysctl(path, value string) error {
	return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0)
}

// configureLink gives the device its size, addresses, routes, and, for veth, the
// neighbours that stand for the tunnel.
func configureLink(h *netlink.Handle, c *stageConfig, veth bool, r *stageReport) error {
	dev, err := h.LinkByName(deviceName)
	if err != nil {
		return step("find "+deviceName, err)
	}
	if err := h.LinkSetMTU(dev, c.MTU); err != nil {
		return step("set the MTU of "+deviceName+" to "+strconv.Itoa(c.MTU), err)
	}
	// One super-packet should become one UDP super-datagram of at most 65507
	// bytes: no more segments than fit. One segment is no super-packet.
	segments := 65507 / (c.MTU + 32)
	if c.NoOffload {
		segments = 1
	}
	h.LinkSetGSOMaxSegs(dev, segments)
	h.LinkSetTxQLen(dev, 1000)
	if err := h.LinkSetUp(dev); err != nil {
		return step("set "+deviceName+" up", err)
	}
	for _, a := range c.Addresses {
		addr := &netlink.Addr{IPNet: hostNet(a.Addr()), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
		if err := h.AddrAdd(dev, addr); err != nil {
			if a.Addr().Is6() && noIPv6(err) {
				r.Notes = append(r.Notes, "the host has no IPv6: the tunnel's "+a.Addr().String()+" is not used")
				continue
			}
			return step("add the address "+a.Addr().String(), err)
		}
	}
	if veth {
		if err := addNeighbours(h, dev); err != nil {
			return err
		}
	}
	for _, p := range c.Routes {
		if err := h.RouteAdd(route(dev, p, veth)); err != nil && !errors.Is(err, unix.EEXIST) {
			if p.Addr().Is6() && noIPv6(err) {
				continue
			}
			return step("add the route "+p.String(), err)
		}
	}
	return nil
}

// noIPv6 reports whether err is how a kernel without IPv6, or with IPv6
// disabled, refuses an address or a route of it.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) ||
		errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV)
}

func hostNet(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// route returns the route of prefix p into the device.
func route(dev netlink.Link, p netip.Prefix, veth bool) *netlink.Route {
	r := &netlink.Route{LinkIndex: dev.Attrs().Index, Dst: ipNet(p)}
	switch {
	case !veth:
		r.Scope = netlink.SCOPE_LINK
	case p.Addr().Is4():
		r.Gw, r.Flags = vethNextHop4.AsSlice(), int(netlink.FLAG_ONLINK)
	default:
		r.Gw, r.Flags = vethNextHop6.AsSlice(), int(netlink.FLAG_ONLINK)
	}
	return r
}

// addNeighbours makes the next hops known for ever, so that nothing is asked on
// a wire where nobody would answer.
func addNeighbours(h *netlink.Handle, dev netlink.Link) error {
	for _, hop := range []netip.Addr{vethNextHop4, vethNextHop6} {
		n := &netlink.Neigh{
			LinkIndex: dev.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: hop.AsSlice(), HardwareAddr: vethGateway,
		}
		if err := h.NeighSet(n); err != nil && !(hop.Is6() && noIPv6(err)) {
			return step("add the neighbour "+hop.String(), err)
		}
	}
	return nil
}
