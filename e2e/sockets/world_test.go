package sockets

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

//	  host                                    server
//	┌────────────────────────────┐          ┌──────────────────────────────────┐
//	│ adit's command             │          │ wireguard-go                     │
//	│   10.9.0.3  fd09::3        │  cable   │ lo    10.9.0.1   fd09::1         │
//	│                            ├──────────┤         the services             │
//	│ ┌ plain ─────────────────┐ │          │ and no way to                    │
//	│ │ wg0 (wireguard-go)     │ │          │       10.9.0.66  fd09::66  drops │
//	│ │   10.9.0.2  fd09::2    │ │          │       10.9.0.67  fd09::67  says  │
//	│ └────────────────────────┘ │          │                            so    │
//	└────────────────────────────┘          └──────────────────────────────────┘
//
// Plain is a machine whose only way out is an interface of another's WireGuard:
// what a program does there is what it should do inside adit.

// A world is the lab with all that runs in it.
type world struct {
	*lab.Lab
	plain     *lab.Namespace
	serverKey peer.Key
	clients   []peer.Key
	peers     []*peer.Peer // wireguard-go ends when nobody holds it any more
}

// What each client of the server is.
const (
	plainClient = iota // the plain machine
	aditClient
	rootClient // adit that was started by root
	nClients
)

const serverPort = 51820

// Where the server has no way to: see the picture.
var (
	drops  = []netip.Addr{netip.MustParseAddr("10.9.0.66"), netip.MustParseAddr("fd09::66")}
	nobody = []netip.Addr{netip.MustParseAddr("10.9.0.67"), netip.MustParseAddr("fd09::67")}
)

func newWorld(l *lab.Lab) (*world, error) {
	w := &world{Lab: l, serverKey: peer.NewKey()}
	for range nClients {
		w.clients = append(w.clients, peer.NewKey())
	}
	if err := w.startServer(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := w.startPlain(); err != nil {
		return nil, fmt.Errorf("the plain machine: %w", err)
	}
	return w, nil
}

// addresses returns the tunnel's addresses of a client.
func addresses(client int) []netip.Prefix {
	v4, v6 := lab.TunnelV4.Addr().As4(), lab.TunnelV6.Addr().As16()
	v4[3], v6[15] = byte(client+2), byte(client+2)
	return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(v4), 32), netip.PrefixFrom(netip.AddrFrom16(v6), 128)}
}

func (w *world) startServer() error {
	return w.Server.Do(func() error {
		config := peer.Device(w.serverKey.Private, serverPort)
		for i, k := range w.clients {
			config += peer.Remote(k.Public, "", "", addresses(i)...)
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
func (w *world) startPlain() error {
	const name = "wgplain"
	inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
	var err error
	if w.plain, err = lab.NewNamespace(); err != nil {
		return err
	}
	err = w.startPeer(name, peer.Device(w.clients[plainClient].Private, 0)+
		peer.Remote(w.serverKey.Public, "", endpoint.String(), inner...))
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetNsFd(l, w.plain.Fd()); err != nil {
		return fmt.Errorf("move the interface: %w", err)
	}
	return w.plain.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		return lab.BringUp(name, addresses(plainClient), inner)
	})
}

var endpoint = netip.AddrPortFrom(lab.ServerV4.Addr(), serverPort)

// conf is a wg-quick file of a client, without a route to everything.
func (w *world) conf(t testing.TB, client int, u lab.User) string {
	t.Helper()
	a := addresses(client)
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v, %v\nDNS = %v\n[Peer]\nPublicKey = %s\nAllowedIPs = %v, %v\nEndpoint = %v\n",
		w.clients[client].Private, a[0], a[1], lab.ServiceV4, w.serverKey.Public, lab.TunnelV4, lab.TunnelV6, endpoint)
	path, err := u.WriteFile(fmt.Sprintf("client%d.conf", client), text, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A surrounding is what a program runs in.
type surrounding struct {
	mode   string // of adit run; empty: the plain machine
	root   bool   // the caller is root
	docker bool   // under a filter like Docker's: nobody's descriptors can be had
}

var plainly = surrounding{}

func (s surrounding) String() string {
	name := s.mode
	if s.mode == "" {
		name = "plain"
	}
	if s.root {
		name += " as root"
	}
	if s.docker {
		name += " in Docker"
	}
	return name
}

// client is who the server sees.
func (s surrounding) client() int {
	switch {
	case s.mode == "":
		return plainClient
	case s.root:
		return rootClient
	}
	return aditClient
}

// command returns argv to be run in the surrounding.
func (w *world) command(t testing.TB, s surrounding, argv ...string) *exec.Cmd {
	t.Helper()
	u := w.User
	if s.root {
		u = w.Root()
	}
	if s.mode != "" {
		argv = append([]string{suite.Adit(), "run", "--mode=" + s.mode, "-c", w.conf(t, s.client(), u), "--"}, argv...)
	}
	if s.docker {
		argv = append([]string{w.confine(t), "-docker", "-nnp"}, argv...)
	}
	return u.Command(argv[0], argv[1:]...)
}

// confine returns the path of e2e/confine.
func (w *world) confine(t testing.TB) string {
	t.Helper()
	path := filepath.Join(w.Dir, "confine")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := suite.Build(path, "adit/e2e/confine"); err != nil {
		t.Fatalf("build confine: %v", err)
	}
	return path
}

// start starts cmd in the surrounding.
func (w *world) start(s surrounding, cmd *exec.Cmd) error {
	if s.mode == "" {
		return w.plain.Do(func() error { return lab.Start(cmd) })
	}
	return lab.Start(cmd)
}

// run runs argv in the surrounding, to its end, and returns what it printed. It
// must succeed in silence.
func (w *world) run(t testing.TB, s surrounding, within time.Duration, argv ...string) string {
	t.Helper()
	cmd := w.command(t, s, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, 5*time.Second
	if err := w.start(s, cmd); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	slow := time.AfterFunc(within, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !slow.Stop() {
		t.Fatalf("%v: %v took more than %v\nstdout: %s\nstderr: %s", s, argv, within, tail(stdout.String()), stderr.String())
	}
	if err != nil {
		t.Fatalf("%v: %v: %v\nstdout: %s\nstderr: %s", s, argv, err, tail(stdout.String()), stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("%v: %v: not silent, stderr: %s", s, argv, stderr.String())
	}
	return stdout.String()
}

// A talk is with a program that runs.
type talk struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// talk starts argv in the surrounding and ends it with the test.
func (w *world) talk(t testing.TB, s surrounding, within time.Duration, argv ...string) *talk {
	t.Helper()
	k := &talk{t: t, cmd: w.command(t, s, argv...)}
	var stderr bytes.Buffer
	k.cmd.Stderr, k.cmd.WaitDelay = &stderr, 5*time.Second
	var err error
	if k.in, err = k.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.out = bufio.NewScanner(out)
	if err := w.start(s, k.cmd); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	slow := time.AfterFunc(within, func() { k.cmd.Process.Kill() })
	t.Cleanup(func() {
		k.in.Close()
		if err := k.cmd.Wait(); err != nil {
			t.Errorf("%v: %v: %v\nstderr: %s", s, argv, err, stderr.String())
		}
		slow.Stop()
	})
	return k
}

// line returns the next line that the program prints, without the first word,
// which must be key.
func (k *talk) line(key string) string {
	k.t.Helper()
	if !k.out.Scan() {
		k.t.Fatalf("%v ended before it said %q", k.cmd.Args, key)
	}
	value, ok := strings.CutPrefix(k.out.Text(), key)
	if !ok {
		k.t.Fatalf("%v: got %q, want %q", k.cmd.Args, k.out.Text(), key)
	}
	return strings.TrimSpace(value)
}

// tail returns the last lines of a text.
func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// compile compiles C sources of testdata for everybody to run.
func (w *world) compile(t testing.TB, name string, static bool, sources ...string) string {
	t.Helper()
	suite.Need(t, "cc")
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
