package hostile

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Sockets that are bound to lo, as a simple guard would hand them out, and what can
// be done with them by who has no capability. It is why adit hands out no inet
// socket for UDP, and refuses groups to TCP; and that a binding holds a socket of
// TCP is what it relies on.
func TestLoopbackBindingAloneLeaks(t *testing.T) {
	const inside = "ADIT_HOSTILE_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Skip("no network of one's own here:", err)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	w := bareHost(t)
	var mu sync.Mutex
	seen := make(map[int]bool)
	c, err := openCapture(func(kind uint16, pkt []byte, where string) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range w.find(kind, pkt) {
			if where == w.Name {
				seen[m.ID] = true
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	results := make([]Result, len(escapes))
	var wait sync.WaitGroup
	for i, e := range escapes {
		mine := *w
		mine.id = Find(e.name).ID()
		wait.Go(func() { results[i] = boundToLo(&mine, &e) })
	}
	wait.Wait()
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	leak := []string{"unspec4", "unspec4-short", "unspec6", "unspec-mapped", "unspec-connected", "pktinfo4-sendmmsg", "pktinfo4-bound",
		"join4-index", "join4-address", "join4-group", "join6-group", "join4-tcp-old", "join4-tcp", "join4-tcp-source", "join6-tcp", "join4-tcp-on-6"}
	hold := []string{"unbind-device", "tcp-unspec", "tcp-unbind-device", "tcp-unbind-ifindex", "tcp-bind-device", "tcp-bind-ifindex",
		"tcp-unicast-if", "tcp6-pktinfo", "tcp-accepted", "tcp-listening"}
	for i, e := range escapes {
		out := seen[Find(e.name).ID()]
		switch {
		case out && slices.Contains(hold, e.name):
			t.Errorf("%s: left a socket that is bound to lo; it says %v", e.name, results[i])
		case !out && slices.Contains(leak, e.name):
			t.Errorf("%s: stayed; it says %v", e.name, results[i])
		default:
			t.Logf("%-20s out %-5v %v", e.name, out, results[i])
		}
	}
}

// boundToLo does e with a socket bound to lo, as a thread without capabilities.
func boundToLo(w *World, e *escape) Result {
	runtime.LockOSThread() // and never unlocked: it is of no other use
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return broken(err)
	}
	fd, err := unix.Socket(family(e.v6), e.kind(), 0)
	if err == nil {
		err = unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")
	}
	if err != nil {
		return broken(err)
	}
	return e.do(w, fd)
}

// bareHost makes this network a host with one link, whose other end nobody has.
func bareHost(t *testing.T) *World {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const name = "out0"
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "out1"}))
	w := &World{Token: "0123456789ab", Port: 20000, Base: 20000, Domain: "test", Name: name,
		Host4: netip.MustParseAddr("10.77.0.2"), Host6: netip.MustParseAddr("fd77::2"),
		Near4: netip.MustParseAddr("10.77.0.1"), Near6: netip.MustParseAddr("fd77::1"),
		Far4: netip.MustParseAddr("198.51.100.1"), Far6: netip.MustParseAddr("2001:db8:51::1")}
	for _, n := range []string{"lo", "out1", name} {
		l, err := netlink.LinkByName(n)
		must(err)
		if n == name {
			must(netlink.LinkSetARPOff(l)) // nobody answers
			w.Link = l.Attrs().Index
			for _, text := range []string{"10.77.0.2/24", "fd77::2/64"} {
				a, err := netlink.ParseAddr(text)
				must(err)
				a.Flags |= unix.IFA_F_NODAD
				must(netlink.AddrAdd(l, a))
			}
		}
		must(netlink.LinkSetUp(l))
	}
	for _, text := range []string{"0.0.0.0/0", "::/0"} {
		dst, err := netlink.ParseIPNet(text)
		must(err)
		must(netlink.RouteReplace(&netlink.Route{LinkIndex: w.Link, Dst: dst, Scope: netlink.SCOPE_LINK}))
	}
	return w
}
