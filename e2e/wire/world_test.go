package wire

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/services"
	"adit/e2e/suite"
	"adit/e2e/tap"
)

//	  client                                     server
//	┌───────────────────────────┐              ┌─────────────────────────────────┐
//	│ adit run, or wireguard-go │    cable     │ wireguard-go, or adit serve     │
//	│            eth0 10.77.0.2 ├──────────────┤ eth0 10.77.0.1    fd77::1       │
//	│                 fd77::2   │              │ lo   10.9.0.1     fd09::1       │
//	│ lo 10.77.1.0/24           │              │      198.51.100.1 2001:db8:51::1│
//	│    fd77:0:0:1::/64        │              │        echo, names              │
//	└───────────────────────────┘              └─────────────────────────────────┘
//
// The services are reached through the tunnel, and without it.

// A world is a pair of machines and the keys of both.
type world struct {
	*lab.Pair
	lab            *lab.Lab
	client, server peer.Key
	foreign        bool // the server is wireguard-go
	foreignClient  bool // and so is the client
}

// The tunnel's ends. The client's addresses suit both kinds of server.
const serverPort = 51820

var (
	endpointV4 = netip.AddrPortFrom(lab.ServerV4.Addr(), serverPort)
	endpointV6 = netip.AddrPortFrom(lab.ServerV6.Addr(), serverPort)
	clientV4   = netip.MustParsePrefix("10.9.0.2/32")
	clientV6   = netip.MustParsePrefix("fd09::2/128")
)

// newWorld lays a cable and starts the services.
func newWorld(t *testing.T) *world {
	t.Helper()
	l := suite.Lab(t)
	p, err := lab.NewPair()
	if err != nil {
		t.Fatalf("lay a cable: %v", err)
	}
	t.Cleanup(p.Close)
	w := &world{Pair: p, lab: l, client: peer.NewKey(), server: peer.NewKey()}
	w.serve(t)
	return w
}

// serve starts echo services and nameservers, by the tunnel and beside it.
func (w *world) serve(t *testing.T) {
	t.Helper()
	names := &services.Nameserver{Addrs: map[string][]netip.Addr{"secret.test.": {lab.ServiceV4, lab.ServiceV6}}}
	closing := func(c interface{ Close() error }) { t.Cleanup(func() { c.Close() }) }
	err := w.Server.Do(func() error {
		l, err := net.Listen("tcp", ":7")
		if err != nil {
			return err
		}
		closing(l)
		go services.EchoTCP(l)
		for _, a := range []netip.Addr{lab.ServiceV4, lab.ServiceV6, lab.ElsewhereV4, lab.ElsewhereV6} {
			echo, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 7).String())
			if err != nil {
				return err
			}
			closing(echo)
			go services.EchoUDP(echo)
			sink, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 9).String())
			if err != nil {
				return err
			}
			closing(sink) // nobody reads it
			dns, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 53).String())
			if err != nil {
				return err
			}
			closing(dns)
			go names.ServeUDP(dns)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("services: %v", err)
	}
}

// wireguardServer starts wireguard-go on the server.
func (w *world) wireguardServer(t *testing.T) *peer.Peer {
	t.Helper()
	w.foreign = true
	config := peer.Device(w.server.Private, serverPort) + peer.Remote(w.client.Public, "", "", clientV4, clientV6)
	return w.wireguard(t, w.Server, config, nil, []netip.Prefix{lab.TunnelV4, lab.TunnelV6}, lab.ServiceV4, lab.ServiceV6)
}

// wireguardClient starts wireguard-go on the client.
func (w *world) wireguardClient(t *testing.T, endpoint netip.AddrPort) *peer.Peer {
	t.Helper()
	w.foreignClient = true
	config, far := w.clientConfig(endpoint)
	return w.wireguard(t, w.Client, config, []netip.Prefix{clientV4, clientV6}, far, clientV4.Addr(), clientV6.Addr())
}

// clientConfig returns the configuration of a client, and the services, which it
// sends to through the tunnel.
func (w *world) clientConfig(endpoint netip.AddrPort) (config string, far []netip.Prefix) {
	for _, a := range []netip.Addr{lab.ElsewhereV4, lab.ElsewhereV6, lab.ServiceV4, lab.ServiceV6} {
		far = append(far, netip.PrefixFrom(a, a.BitLen()))
	}
	return peer.Device(w.client.Private, 0) + peer.Remote(w.server.Public, "", endpoint.String(), far...), far
}

func (w *world) wireguard(t *testing.T, on *lab.Namespace, config string, addrs, routes []netip.Prefix, src ...netip.Addr) *peer.Peer {
	t.Helper()
	var p *peer.Peer
	err := on.Do(func() (err error) {
		if p, err = peer.Start("wg0", config); err != nil {
			return err
		}
		return lab.BringUp("wg0", addrs, routes, src...)
	})
	if p != nil {
		t.Cleanup(p.Kill)
	}
	if err != nil {
		t.Fatalf("start wireguard-go: %v", err)
	}
	return p
}

// aditServer starts adit serve on the server.
func (w *world) aditServer(t *testing.T) *suite.Program {
	t.Helper()
	key := w.file(t, "gw.key", w.server.Private+"\n")
	p := w.start(t, w.Server, suite.Adit(), "serve", "--listen", fmt.Sprintf(":%d", serverPort), "--private-key", key,
		"--peer", fmt.Sprintf("%s=%v,%v", w.client.Public, clientV4.Addr(), clientV6.Addr()))
	p.WaitSaid("serving")
	return p
}

// conf writes a wg-quick file of the client's and returns its path.
func (w *world) conf(t *testing.T, endpoint netip.AddrPort, more string) string {
	t.Helper()
	return w.file(t, "wg0.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v, %v\nDNS = %v\n%s\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = %v\n",
		w.client.Private, clientV4, clientV6, lab.ServiceV4, more, w.server.Public, endpoint))
}

// file writes a file of the user's in a folder of the test's own.
func (w *world) file(t *testing.T, name, text string) string {
	t.Helper()
	folder := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	path, err := w.lab.User.WriteFile(folder+"/"+name, text, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// listen opens a tap at the client's end of the cable, once that is silent. It
// is stopped with the test, if the test has not.
func (w *world) listen(t *testing.T) *tap.Tap {
	t.Helper()
	var ear *tap.Tap
	if err := w.Client.Do(func() (err error) {
		ear, err = tap.Open("eth0")
		return err
	}); err != nil {
		t.Fatalf("tap the cable: %v", err)
	}
	t.Cleanup(func() { ear.Stop() })
	ear.Quiet(200 * time.Millisecond)
	return ear
}

// stop ends the capture; what the tap could not keep is fatal.
func stop(t *testing.T, ear *tap.Tap) []tap.Packet {
	t.Helper()
	packets, err := ear.Stop()
	if err != nil {
		t.Fatalf("the tap: %v", err)
	}
	return packets
}
