package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/services"
	"adit/e2e/suite"
	"adit/hostile"
)

//	  host                                       server
//	┌───────────────────────────┐              ┌─────────────────────────────────┐
//	│ the tests, alice, adit    │    cable     │ wireguard-go :51820             │
//	│            eth0 10.77.0.2 ├──────────────┤ eth0 10.77.0.1    fd77::1       │
//	│                 fd77::2   │              │ wg0  10.9.0.0/24  fd09::/64     │
//	│ default route: the server │              │ lo   10.9.0.1     fd09::1       │
//	│ resolv.conf:   10.78.0.53 │              │      198.51.100.1 2001:db8:51::1│
//	│                           │              │        http https ssh git echo  │
//	│  ┌─────────────────────┐  │              │        and the tunnel's DNS     │
//	│  │ adit's command      │  │              │      10.78.0.53   fd78::53      │
//	│  │ 10.9.0.2  fd09::2   │  │              │        the host's DNS           │
//	│  └─────────────────────┘  │              └─────────────────────────────────┘
//	└───────────────────────────┘
//
// Every service is reached through the tunnel, and by a program that leaks also
// by the default route: a leak succeeds, and the server knows the client's
// address.

// A world is the lab with all that runs in it.
type world struct {
	*lab.Lab
	adit  string // the binary under test
	probe string // testdata/probe

	peer      *peer.Peer // nil while it is dead
	serverKey peer.Key
	clients   []peer.Key // known to the peer; client i has the addresses ending in i+2
	psk       string     // of client pskClient

	hostDNS, tunnelDNS, elsewhereDNS *services.Nameserver
	ssh                              *services.SSH
	ca                               string // file, the authority of https
	sshKey, knownHosts               string // files
}

// What each of the peer's clients is for.
const (
	someClient  = iota // the one of most tests
	pskClient          // has a preshared key
	otherClient        // a second tunnel at the same time
	aloneClient        // the first of many: one for each attempt that has a run of its own
)

const serverPort = 51820

// newWorld starts the services and the peer of the lab.
func newWorld(l *lab.Lab) (*world, error) {
	w := &world{Lab: l, adit: suite.Adit(), probe: filepath.Join(l.Dir, "probe")}
	if err := suite.Build(w.probe, "./testdata/probe"); err != nil {
		return nil, fmt.Errorf("build the probe: %w", err)
	}
	w.serverKey, w.psk = peer.NewKey(), peer.NewPresharedKey()
	alone, _ := pick(hostile.Namespace, func(a *hostile.Attempt) bool { return a.Alone })
	for range aloneClient + len(alone) {
		w.clients = append(w.clients, peer.NewKey())
	}
	if err := w.startServices(); err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	if err := w.startPeer(serverPort); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	return w, nil
}

// startPeer starts wireguard-go on the server, with the peers and routes.
func (w *world) startPeer(port int) error {
	return w.Server.Do(func() error {
		config := peer.Device(w.serverKey.Private, port)
		for i, k := range w.clients {
			psk := ""
			if i == pskClient {
				psk = w.psk
			}
			config += peer.Remote(k.Public, psk, "", clientAddresses(i)...)
		}
		p, err := peer.Start("wg0", config)
		if err != nil {
			return err
		}
		w.peer = p
		return lab.BringUp("wg0", nil, []netip.Prefix{lab.TunnelV4, lab.TunnelV6}, lab.ServiceV4, lab.ServiceV6)
	})
}

// killPeer ends wireguard-go, and starts it again when the test is over.
func (w *world) killPeer(t *testing.T) {
	t.Helper()
	w.peer.Kill()
	w.peer = nil
	t.Cleanup(func() {
		if w.peer != nil {
			return
		}
		if err := w.startPeer(serverPort); err != nil {
			t.Fatalf("start the peer again: %v", err)
		}
	})
}

// restartPeer starts a peer that was killed; it remembers nothing.
func (w *world) restartPeer(t *testing.T) {
	t.Helper()
	if err := w.startPeer(serverPort); err != nil {
		t.Fatalf("start the peer again: %v", err)
	}
}

// renewPeer replaces the peer by one that remembers nothing, now and when the
// test is over. Tests that use an IPv6 endpoint need it: wireguard-go of
// 2026-05-22 keeps four bytes of an address (conn/bind_std.go, Send: copy into
// ua.IP before it has 16) when it answers by IPv6 after it has answered by IPv4.
func (w *world) renewPeer(t *testing.T) {
	t.Helper()
	renew := func() {
		if w.peer != nil {
			w.peer.Kill()
		}
		w.restartPeer(t)
	}
	renew()
	t.Cleanup(renew)
}

// clientAddresses returns the tunnel addresses of client i.
func clientAddresses(i int) []netip.Prefix {
	v4, v6 := lab.TunnelV4.Addr().As4(), lab.TunnelV6.Addr().As16()
	v4[3], v6[15] = byte(i+2), byte(i+2)
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4(v4), 32), netip.PrefixFrom(netip.AddrFrom16(v6), 128),
	}
}

// startServices opens all sockets on the server and serves them.
func (w *world) startServices() error {
	inside := []netip.Addr{lab.ServiceV4, lab.ServiceV6}
	elsewhere := []netip.Addr{lab.ElsewhereV4, lab.ElsewhereV6}
	outside := []netip.Addr{lab.NameserverV4, lab.NameserverV6}
	w.tunnelDNS, w.elsewhereDNS, w.hostDNS = newNameserver("tunnel"), newNameserver("elsewhere"), newNameserver("host")
	if err := w.prepareFiles(); err != nil {
		return err
	}
	cert, ca, err := services.Certificate("web.test", lab.ServiceV4.String(), lab.ServiceV6.String())
	if err != nil {
		return err
	}
	if w.ca, err = w.User.WriteFile("ca.pem", ca, 0o644); err != nil {
		return err
	}
	git, _ := exec.Command("git", "--exec-path").Output()
	backend := filepath.Join(strings.TrimSpace(string(git)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		backend = ""
	}
	web := services.NewHTTP(backend, w.gitRoot())
	return w.Server.Do(func() error {
		for _, s := range []struct {
			port  int
			serve func(net.Listener)
		}{
			{7, services.EchoTCP},
			{22, w.ssh.Serve},
			{80, func(l net.Listener) { web.Serve(l) }},
			{443, func(l net.Listener) {
				web.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
			}},
		} {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", s.port))
			if err != nil {
				return err
			}
			go s.serve(l)
		}
		for _, a := range append(inside, elsewhere...) {
			c, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 7).String())
			if err != nil {
				return err
			}
			go services.EchoUDP(c)
		}
		for ns, addrs := range map[*services.Nameserver][]netip.Addr{
			w.tunnelDNS: inside, w.elsewhereDNS: elsewhere, w.hostDNS: outside,
		} {
			if err := serveDNS(ns, addrs); err != nil {
				return err
			}
		}
		return nil
	})
}

// newNameserver knows the same names as the others, so that a leak succeeds;
// who.test tells them apart.
func newNameserver(who string) *services.Nameserver {
	return &services.Nameserver{
		Addrs: map[string][]netip.Addr{
			"web.test.":      {lab.ServiceV4, lab.ServiceV6},
			"web.corp.test.": {lab.ServiceV4, lab.ServiceV6},
			"v4.test.":       {lab.ServiceV4},
			"v6.test.":       {lab.ServiceV6},
			"peer.test.":     {lab.ServerV4.Addr(), lab.ServerV6.Addr()},
		},
		TXT: map[string][]string{
			"who.test.": {who},
			"big.test.": {strings.Repeat("a", 250), strings.Repeat("b", 250), strings.Repeat("c", 250), strings.Repeat("d", 250)},
		},
	}
}

func serveDNS(ns *services.Nameserver, addrs []netip.Addr) error {
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, 53).String()
		u, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		go ns.ServeUDP(u)
		go ns.ServeTCP(l)
	}
	return nil
}

func (w *world) gitRoot() string { return filepath.Join(w.Dir, "repositories") }

// gitMessage is the message of the one commit in repo.git.
const gitMessage = "a commit beyond the tunnel"

// prepareFiles makes the ssh keys and a git repository.
func (w *world) prepareFiles() error {
	if err := os.Mkdir(w.gitRoot(), 0o755); err != nil {
		return err
	}
	env := []string{"PATH=" + lab.Path, "HOME=" + w.gitRoot(), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@example.com",
		"GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@example.com"}
	var err error
	if w.ssh, err = services.NewSSH(w.gitRoot(), env); err != nil {
		return err
	}
	if w.sshKey, err = w.User.WriteFile("id_ed25519", w.ssh.ClientKey, 0o600); err != nil {
		return err
	}
	hosts := fmt.Sprintf("web.test,%v,%v %s", lab.ServiceV4, lab.ServiceV6, w.ssh.HostKey)
	if w.knownHosts, err = w.User.WriteFile("known_hosts", hosts, 0o600); err != nil {
		return err
	}
	if _, err := lab.Look("git"); err != nil {
		return nil // its tests are skipped
	}
	script := `git init -q --bare repo.git &&
		tree=$(git -C repo.git hash-object -t tree -w /dev/null) &&
		commit=$(git -C repo.git commit-tree -m "` + gitMessage + `" $tree) &&
		git -C repo.git update-ref HEAD $commit`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = w.gitRoot(), env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a git repository: %w\n%s", err, out)
	}
	return nil
}

// A conf is a wg-quick file in the making. Empty fields take the usual values.
type conf struct {
	client    int
	private   string         // "" is the client's key
	public    string         // "" is the server's
	addresses []netip.Prefix // nil is the client's
	dns       string         // "" is the tunnel's nameserver, "none" is no line
	allowed   string         // "" is everything
	endpoint  string         // "" is the server's IPv4 address
	iface     string         // more lines for [Interface]
	peer      string         // more lines for [Peer]
}

// Endpoints of the server.
var (
	endpointV4 = netip.AddrPortFrom(lab.ServerV4.Addr(), serverPort)
	endpointV6 = netip.AddrPortFrom(lab.ServerV6.Addr(), serverPort)
	endpoints  = []netip.AddrPort{endpointV4, endpointV6}
)

func (c conf) text(w *world) string {
	or := func(s, usual string) string {
		if s == "" {
			return usual
		}
		return s
	}
	if c.addresses == nil {
		c.addresses = clientAddresses(c.client)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\n", or(c.private, w.clients[c.client].Private))
	for _, a := range c.addresses {
		fmt.Fprintf(&b, "Address = %v\n", a)
	}
	if c.dns != "none" {
		fmt.Fprintf(&b, "DNS = %s\n", or(c.dns, lab.ServiceV4.String()))
	}
	fmt.Fprintf(&b, "%s\n[Peer]\nPublicKey = %s\n", c.iface, or(c.public, w.serverKey.Public))
	if c.client == pskClient {
		fmt.Fprintf(&b, "PresharedKey = %s\n", w.psk)
	}
	fmt.Fprintf(&b, "AllowedIPs = %s\nEndpoint = %s\n%s\n", or(c.allowed, "0.0.0.0/0, ::/0"), or(c.endpoint, endpointV4.String()), c.peer)
	return b.String()
}

// write writes c to a file of the user's and returns its path.
func (c conf) write(t *testing.T, w *world) string {
	t.Helper()
	return w.file(t, fmt.Sprintf("wg%d.conf", c.client), c.text(w), 0o600)
}

// file writes a file of the user's that goes away with the test.
func (w *world) file(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path, err := w.User.WriteFile(name, text, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return path
}
