package launcher

import (
	"os"
	"runtime"

	"adit/link"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vethIndex is the interface number of the command's end. It must not be that of
// the far end, the second device of its namespace: a kernel that sees a device
// whose link has its own number takes it for a physical one, and up to a second
// goes by until it is said to be running (net/core/link_watch.c, urgent events).
const vethIndex = 3

// makeVeth makes a veth pair: one end is the command's device, the other stands
// in a network namespace that nobody else is in, with a packet socket on it, and
// lives as long as that socket. It needs no device node, only the capabilities
// of the namespace's creator.
//
// The thread visits the second namespace and comes back: the calling goroutine
// must be locked to it.
func makeVeth(h *netlink.Handle, mtu int) (*os.File, error) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, step("open the network namespace", err)
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, step("make the far end's namespace", err)
	}
	far, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, step("open the far end's namespace", err)
	}
	defer unix.Close(far)
	if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
		return nil, step("return from the far end's namespace", err)
	}
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{
			Name: deviceName, Index: vethIndex, MTU: mtu, HardwareAddr: vethApp, NumTxQueues: 1, NumRxQueues: 1, TxQLen: 1000,
		},
		PeerName: "far0", PeerHardwareAddr: vethEngine, PeerNamespace: netlink.NsFd(far), PeerMTU: uint32(mtu),
	}
	if err := h.LinkAdd(pair); err != nil {
		return nil, step("make a veth pair", err)
	}
	var file *os.File
	err = inNamespace(far, home, func() error {
		file, err = openFarEnd()
		return err
	})
	return file, err
}

// inNamespace runs f with the thread in the network namespace there and brings
// it back home. A thread that cannot come back must not be used by anybody.
func inNamespace(there, home int, f func() error) error {
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return step("enter the far end's namespace", err)
	}
	err := f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		runtime.Goexit()
	}
	return err
}

// openFarEnd sets the far end up, silent, and opens the packet socket on it.
func openFarEnd() (*os.File, error) {
	writeSysctl("ipv6/conf/far0/addr_gen_mode", "1")
	writeSysctl("ipv6/conf/far0/disable_ipv6", "1")
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, step("open a netlink socket", err)
	}
	defer h.Close()
	dev, err := h.LinkByName("far0")
	if err != nil {
		return nil, step("find the far end", err)
	}
	if err := h.LinkSetARPOff(dev); err != nil {
		return nil, step("silence the far end", err)
	}
	if err := h.LinkSetUp(dev); err != nil {
		return nil, step("set the far end up", err)
	}
	file, err := link.OpenPacketSocket(dev.Attrs().Index)
	return file, step("open a packet socket", err)
}
