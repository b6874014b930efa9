package hostile

import (
	"encoding/binary"
	"errors"
	"net"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Changing the network: links, routes, and links into the host's network.
var linkAttempts = category("links", inEach(refused(unix.EPERM, unix.EACCES)),
	&Attempt{Name: "route", Does: "add a route (RTM_NEWROUTE)", try: tryRoute},
	nested(0, &Attempt{Name: "route-nested", Does: "the same with the capabilities of a nested namespace", try: tryRoute}),
	&Attempt{Name: "route-ioctl", Does: "add a route (SIOCADDRT)", Expect: inSeccomp(refused(unix.EPERM, unix.ENOTTY, unix.EINVAL)), try: tryRouteIoctl},
	&Attempt{Name: "link-down", Does: "take the device down (SIOCSIFFLAGS)", try: tryLinkDown},
	&Attempt{Name: "macvlan", Does: "a macvlan on the device", try: tryLink(func(parent int) netlink.Link {
		return &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "attempt0", ParentIndex: parent}}
	})},
	&Attempt{Name: "ipvlan", Does: "an ipvlan on the device", try: tryLink(func(parent int) netlink.Link {
		return &netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Name: "attempt1", ParentIndex: parent}}
	})},
	&Attempt{Name: "veth-to-host", Does: "a veth pair whose other end is in the host's network (IFLA_NET_NS_PID)", try: tryVethToHost},
	nested(unix.CLONE_NEWNET, &Attempt{Name: "veth-to-host-nested", Does: "the same from a network of its own", try: tryVethToHost}),
	nested(unix.CLONE_NEWNET, &Attempt{Name: "move-link-nested", Does: "move a link of its own into the host's network", try: tryMoveLink}),
	&Attempt{Name: "move-device", Does: "move adit's device into a new network", try: tryMoveDevice},
	nested(unix.CLONE_NEWNET, &Attempt{Name: "link-netnsid", Does: "name the host's network by a number (RTM_NEWNSID)",
		Expect: inEach(refused(unix.EPERM, unix.EACCES, unix.EINVAL)), try: tryNSID}),
	&Attempt{Name: "tun", Does: "a TUN device (TUNSETIFF)", Expect: inEach(refused(unix.EPERM, unix.EACCES, unix.ENOENT)), try: tryTUN("attempt2")},
	&Attempt{Name: "tun-attach", Does: "one more queue of adit's TUN", Expect: inEach(refused(unix.EPERM, unix.EACCES, unix.EBUSY, unix.EINVAL, unix.ENOENT)), try: tryAttachTUN},
	&Attempt{Name: "tun-owned", Does: "a TAP of the host's that the user may use, and a frame by it", Control: Everybody,
		Expect: inEach(refused(unix.EPERM, unix.EACCES, unix.ENOENT)), try: tryOwnedTUN},
	&Attempt{Name: "host-links", Does: "the host's links in a list of links", Expect: inNamespace(refused(unix.ENODEV)).both(open()), try: tryHostLinks},
	&Attempt{Name: "sysctl-net", Does: "write /proc/sys/net", ByRoot: true,
		Expect: inEach(refused(unix.EACCES, unix.EPERM, unix.EROFS)), try: trySysctl},
)

// device returns the first interface that is not lo: adit's.
func device() (index int, name string) {
	links, _ := net.Interfaces()
	for _, l := range links {
		if l.Flags&net.FlagLoopback == 0 {
			return l.Index, l.Name
		}
	}
	return 0, ""
}

func tryRoute(w *World) Result {
	index, _ := device()
	_, dst, _ := net.ParseCIDR("203.0.113.0/24")
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: max(1, index), Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
		return no("add a route", err)
	}
	netlink.RouteDel(&netlink.Route{LinkIndex: max(1, index), Dst: dst, Scope: netlink.SCOPE_LINK})
	return got("add a route")
}

func tryRouteIoctl(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	var entry [120]byte // struct rtentry, of which capable() is asked first
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&entry)))
	return orGot("ioctl(SIOCADDRT)", errno)
}

// orGot is no where something failed, and else got.
func orGot(step string, err unix.Errno) Result {
	if err == 0 {
		return got(step)
	}
	return no(step, err)
}

func tryLinkDown(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	_, name := device()
	if name == "" {
		return missing("a device")
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return no("ifreq", unix.EINVAL)
	}
	req.SetUint16(0)
	errno, _ := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req).(unix.Errno)
	return orGot("ioctl(SIOCSIFFLAGS)", errno)
}

func tryLink(make func(parent int) netlink.Link) func(*World) Result {
	return func(w *World) Result {
		index, _ := device()
		l := make(index)
		if err := netlink.LinkAdd(l); err != nil {
			return noSuch("add a link", err)
		}
		netlink.LinkDel(l)
		return got("add a link")
	}
}

func tryVethToHost(w *World) Result {
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "attempt3"}, PeerName: "attempt4", PeerNamespace: netlink.NsPid(pid)}
		if err := netlink.LinkAdd(l); err != nil {
			return no("add a veth pair", err)
		}
		netlink.LinkDel(l)
		return got("add a veth pair")
	})
}

func tryMoveLink(w *World) Result {
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "attempt5"}, PeerName: "attempt6"}
	if err := netlink.LinkAdd(l); err != nil {
		return no("add a veth pair", err)
	}
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		if err := netlink.LinkSetNsPid(l, pid); err != nil {
			return no("move a link", err)
		}
		return got("move a link")
	})
}

func tryMoveDevice(w *World) Result {
	index, name := device()
	if name == "" {
		return missing("a device")
	}
	l := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: name}}
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		if err := netlink.LinkSetNsPid(l, pid); err != nil {
			return no("move a link", err)
		}
		return got("move a link")
	})
}

func tryNSID(w *World) Result {
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		const number = 7
		if err := netlink.SetNetNsIdByPid(pid, number); err != nil && !errors.Is(err, unix.EEXIST) {
			return no("RTM_NEWNSID", err)
		}
		// Everybody may give it a number; to use it takes power over it.
		if err := linkThere(w, number, unix.RTM_GETLINK, unix.IFLA_TARGET_NETNSID, 0); err == nil {
			return got("RTM_GETLINK there")
		}
		flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
		if err := linkThere(w, number, unix.RTM_NEWLINK, unix.IFLA_LINK_NETNSID, flags); err != nil {
			return no("RTM_NEWLINK there", err)
		}
		return got("RTM_NEWLINK there")
	})
}

// linkThere asks for the host's link in a namespace that has a number, or makes
// a macvlan on it.
func linkThere(w *World, number int, request, attribute, flags int) error {
	req := nl.NewNetlinkRequest(request, flags|unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	if request == unix.RTM_GETLINK {
		msg.Index = int32(w.Link)
	}
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(attribute, nl.Uint32Attr(uint32(number))))
	if request == unix.RTM_NEWLINK {
		req.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(w.Link))))
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("macvlan"))
		req.AddData(info)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// setTUN is TUNSETIFF on /dev/net/tun.
func setTUN(name string, flags uint16) Result {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return noSuch("open /dev/net/tun", err, unix.ENODEV, unix.ENXIO)
	}
	var req [40]byte // struct ifreq: name (16), flags (2)
	copy(req[:15], name)
	binary.NativeEndian.PutUint16(req[16:], flags)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req)))
	return orGot("ioctl(TUNSETIFF)", errno)
}

func tryTUN(name string) func(*World) Result {
	return func(*World) Result { return setTUN(name, unix.IFF_TUN|unix.IFF_NO_PI) }
}

func tryAttachTUN(*World) Result {
	_, name := device()
	if name == "" {
		return missing("a device")
	}
	for _, flags := range []uint16{unix.IFF_MULTI_QUEUE, unix.IFF_MULTI_QUEUE | unix.IFF_VNET_HDR, 0} {
		if r := setTUN(name, unix.IFF_TUN|unix.IFF_NO_PI|flags); r.State == StateGot {
			return r
		}
	}
	return setTUN(name, unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
}

// tryOwnedTUN takes a persistent device, as they are made for virtual machines: who
// owns it, or anybody if nobody does, needs no capability (tun_not_capable of Linux).
// Only one that is a laboratory's is used.
func tryOwnedTUN(w *World) Result {
	const name = "attempt9"
	if _, err := net.InterfaceByName(name); err != nil {
		return missing("a TAP of the host's")
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return noSuch("open /dev/net/tun", err, unix.ENODEV, unix.ENXIO)
	}
	var req [40]byte // struct ifreq: name (16), flags (2)
	copy(req[:15], name)
	binary.NativeEndian.PutUint16(req[16:], unix.IFF_TAP|unix.IFF_NO_PI)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return no("ioctl(TUNSETIFF)", errno)
	}
	if _, err := unix.Write(fd, w.frame()); err != nil {
		return no("write", err)
	}
	return sent()
}

func tryHostLinks(w *World) Result {
	links, err := netlink.LinkList()
	if err != nil {
		return no("list the links", err)
	}
	for _, l := range links {
		if w.LinkMAC != "" && l.Attrs().HardwareAddr.String() == w.LinkMAC {
			return got("link " + l.Attrs().Name)
		}
	}
	return no("find the host's link", unix.ENODEV)
}

func trySysctl(*World) Result {
	const path = "/proc/sys/net/ipv4/conf/all/forwarding"
	fd, err := unix.Open(path, unix.O_WRONLY, 0)
	if err != nil {
		return no("open "+path, err)
	}
	unix.Close(fd)
	return got("open " + path)
}
