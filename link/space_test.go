package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// spaceEnv tells a test binary that it runs in namespaces of its own.
const spaceEnv = "ADIT_LINK_TEST_SPACE"

// TestMain runs the tests in a new network namespace, so that they need no
// privilege and leave nothing: in a new user namespace for whom is not root.
// Where that is not possible the tests that need it skip with the reason.
func TestMain(m *testing.M) {
	if how := os.Getenv(spaceEnv); how != "" {
		if how == "yes" {
			if err := linkUp("lo"); err != nil {
				os.Setenv(spaceEnv, "bring lo up: "+err.Error())
			}
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.Env = append(os.Environ(), spaceEnv+"=yes")
	if err := cmd.Start(); err != nil {
		os.Setenv(spaceEnv, "no: "+err.Error())
		os.Exit(m.Run())
	}
	if err := cmd.Wait(); err != nil {
		os.Exit(max(1, cmd.ProcessState.ExitCode()))
	}
}

// A space is a network namespace with a thread that lives in it.
type space struct {
	t    testing.TB
	work chan func()
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if why := os.Getenv(spaceEnv); why != "yes" {
		t.Skip("no network namespace: " + why)
	}
	s := &space{t: t, work: make(chan func())}
	up := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		up <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range s.work {
			f()
		}
	}()
	if err := <-up; err != nil {
		t.Skip("no network namespace: ", err)
	}
	t.Cleanup(func() { close(s.work) })
	s.do("bring lo up", func() error { return linkUp("lo") })
	return s
}

// do runs f in the namespace. What f opens belongs to it.
func (s *space) do(what string, f func() error) {
	s.t.Helper()
	errc := make(chan error)
	s.work <- func() { errc <- f() }
	if err := <-errc; err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// configure gives a device its MTU and addresses and sets it up.
func configure(name string, mtu int, addrs ...string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(l, mtu); err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// tun makes a TUN device in the namespace.
func (s *space) tun(sys *kernel, mtu int, addrs ...string) (dev *TUN) {
	s.t.Helper()
	var skip error
	s.do("make a TUN", func() error {
		f, err := OpenTUN("tun0", mtu)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			skip = err
			return nil
		}
		if err != nil {
			return err
		}
		if err := configure("tun0", mtu, addrs...); err != nil {
			return err
		}
		dev, err = newTUN(f, DeviceOptions{MTU: mtu}, sys)
		return err
	})
	if skip != nil {
		s.t.Skip(skip)
	}
	s.t.Cleanup(func() { dev.Close() })
	return dev
}

var (
	appMAC     = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	gatewayMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}
)

// veth makes a veth pair in the namespace, with a packet socket on one end. The
// program's routes go by permanent neighbours, as launcher sets them.
func (s *space) veth(sys *kernel, mtu int, addrs ...string) (dev *Veth) {
	s.t.Helper()
	s.do("make a veth pair", func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = "veth0", mtu, appMAC
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "veth1", PeerMTU: uint32(mtu)}); err != nil {
			return err
		}
		if err := configure("veth0", mtu, addrs...); err != nil {
			return err
		}
		if err := linkUp("veth1"); err != nil {
			return err
		}
		app, err := netlink.LinkByName("veth0")
		if err != nil {
			return err
		}
		for _, gw := range []string{"169.254.1.1", "fe80::1"} {
			ip := net.ParseIP(gw)
			any := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
			if ip.To4() == nil {
				any = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
			}
			n := &netlink.Neigh{LinkIndex: app.Attrs().Index, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: gatewayMAC}
			if err := netlink.NeighSet(n); err != nil {
				return fmt.Errorf("neighbour %s: %w", gw, err)
			}
			r := &netlink.Route{LinkIndex: app.Attrs().Index, Dst: any, Gw: ip, Flags: int(netlink.FLAG_ONLINK)}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("route by %s: %w", gw, err)
			}
		}
		engine, err := netlink.LinkByName("veth1")
		if err != nil {
			return err
		}
		f, err := OpenPacketSocket(engine.Attrs().Index)
		if err != nil {
			return err
		}
		dev, err = newVeth(f, appMAC, gatewayMAC, DeviceOptions{MTU: mtu}, sys)
		return err
	})
	s.t.Cleanup(func() { dev.Close() })
	return dev
}

// wire makes an interface wire0 of MTU 1400, with the other end beside it. They
// have no link-local addresses, which would come some second or two later.
func (s *space) wire(addrs ...string) {
	s.t.Helper()
	s.do("make an interface", func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "wire0", 1400
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire1"}); err != nil {
			return err
		}
		for _, name := range []string{"wire0", "wire1"} {
			l, err := netlink.LinkByName(name)
			if err == nil {
				err = netlink.LinkSetIP6AddrGenMode(l, 1) // IN6_ADDR_GEN_MODE_NONE
			}
			if err != nil {
				return err
			}
		}
		if err := linkUp("wire1"); err != nil {
			return err
		}
		return configure("wire0", 1400, addrs...)
	})
}

func linkDown(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(l)
}

// sameSpace returns another thread in the namespace of s.
func sameSpace(t testing.TB, s *space) *space {
	t.Helper()
	var fd int
	s.do("open the namespace", func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	defer unix.Close(fd)
	other := newSpace(t)
	other.do("enter the namespace", func() error { return unix.Setns(fd, unix.CLONE_NEWNET) })
	return other
}
