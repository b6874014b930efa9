package sockets

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

//	  host                                    server
//	┌────────────────────────────┐          ┌──────────────────────────────────┐
//	│ adit's command, each       │          │ wireguard-go                     │
//	│ as a client of its own     │          │ lo    10.9.0.1   fd09::1         │
//	│   10.9.0.N  fd09::N        │          │         the services             │
//	│                            │  cable   │ and no way to                    │
//	│ ┌ plain, some ───────────┐ ├──────────┤       10.9.0.66  fd09::66  drops │
//	│ │ wg0 (wireguard-go)     │ │          │       10.9.0.67  fd09::67  says  │
//	│ │   10.9.0.N  fd09::N    │ │          │                            so    │
//	│ └────────────────────────┘ │          │                                  │
//	└────────────────────────────┘          └──────────────────────────────────┘
//
// Plain is a machine whose only way out is an interface of another's WireGuard:
// what a program does there is what it should do inside adit.

// A world is the lab with all that runs in it.
type world struct {
	*lab.Lab
	serverKey peer.Key
	clients   []*client
	peers     []*peer.Peer // wireguard-go ends when nobody holds it any more

	// Clients that nobody is at the moment: plain machines, and those of adit.
	plain, ours chan *client

	works    sync.Map   // by surrounding: whether its mode does, see needMode
	building sync.Mutex // held while a program is built
}

const serverPort = 51820

// Where the server has no way to: see the picture.
var (
	drops  = []netip.Addr{netip.MustParseAddr("10.9.0.66"), netip.MustParseAddr("fd09::66")}
	nobody = []netip.Addr{netip.MustParseAddr("10.9.0.67"), netip.MustParseAddr("fd09::67")}
)

func newWorld(l *lab.Lab) (*world, error) {
	w := &world{Lab: l, serverKey: peer.NewKey(), plain: make(chan *client, nPlain), ours: make(chan *client, nOurs)}
	for i := range nPlain + nOurs {
		w.clients = append(w.clients, &client{world: w, key: peer.NewKey(), number: firstNumber + i})
	}
	if err := w.startServer(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	for _, c := range w.clients[:nPlain] {
		if err := w.startPlain(c); err != nil {
			return nil, fmt.Errorf("a plain machine: %w", err)
		}
		w.plain <- c
	}
	for _, c := range w.clients[nPlain:] {
		w.ours <- c
	}
	return w, nil
}

func (w *world) startServer() error {
	return w.Server.Do(func() error {
		config := peer.Device(w.serverKey.Private, serverPort)
		for _, c := range w.clients {
			config += peer.Remote(c.key.Public, "", "", c.addresses()...)
		}
		if err := w.startPeer("wg0", config); err != nil {
			return err
		}
		if err := lab.BringUp("wg0", nil, []netip.Prefix{lab.TunnelV4, lab.TunnelV6}, lab.ServiceV4, lab.ServiceV6); err != nil {
			return err
		}
		if err := refuseToForward(); err != nil {
			return err
		}
		return w.serve()
	})
}

func (w *world) startPeer(name, config string) error {
	p, err := peer.Start(name, config)
	w.peers = append(w.peers, p)
	return err
}

// refuseToForward makes a router of the caller's machine, that drops what is for
// some addresses and answers what is for others.
func refuseToForward() error {
	for key, value := range map[string]string{
		"ipv4/conf/all/forwarding": "1", "ipv6/conf/all/forwarding": "1",
		"ipv4/icmp_ratelimit": "0", "ipv6/icmp/ratelimit": "0", // it says so every time
	} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
			return err
		}
	}
	for kind, addrs := range map[int][]netip.Addr{unix.RTN_BLACKHOLE: drops, unix.RTN_UNREACHABLE: nobody} {
		for _, a := range addrs {
			r := &netlink.Route{Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Type: kind}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("no route to %v: %w", a, err)
			}
		}
	}
	return nil
}

// startPlain starts a wireguard-go on the host and gives its interface to a
// machine that has nothing else.
func (w *world) startPlain(c *client) error {
	name := fmt.Sprintf("wgplain%d", c.number)
	inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
	var err error
	if c.machine, err = lab.NewNamespace(); err != nil {
		return err
	}
	err = w.startPeer(name, peer.Device(c.key.Private, 0)+
		peer.Remote(w.serverKey.Public, "", endpoint.String(), inner...))
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetNsFd(l, c.machine.Fd()); err != nil {
		return fmt.Errorf("move the interface: %w", err)
	}
	return c.machine.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		return lab.BringUp(name, c.addresses(), inner)
	})
}

var endpoint = netip.AddrPortFrom(lab.ServerV4.Addr(), serverPort)

// tail returns the last lines of a text.
func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// compile compiles C sources of testdata for everybody to run.
func (w *world) compile(t testing.TB, name string, static bool, sources ...string) string {
	t.Helper()
	suite.Need(t, "cc")
	w.building.Lock()
	defer w.building.Unlock()
	out := filepath.Join(w.Dir, name)
	args := []string{"-std=gnu11", "-O1", "-w", "-pthread", "-o", out}
	if static {
		args = append(args, "-static")
	}
	if _, err := os.Stat(out); err == nil {
		return out // another test's
	}
	cmd := exec.Command("cc", append(args, sources...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(text), "cannot find -lc") {
			suite.Skip(t, "cc has no static libc")
		}
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
	return out
}
