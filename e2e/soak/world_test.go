package soak

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/services"
	"adit/e2e/suite"
)

//	client                                server
//	adit run ──────────────────────────►  wireguard-go :51820, restarted
//	adit run, again and again ─────────►   ″
//	wireguard-go, adit run ────────────►  adit serve   :51821
//	adit run ──────────────────────────►  adit device  :51822, reconfigured
//
// Each of them carries traffic to the echo services of the server.

const wireguardPort, servePort, devicePort = 51820, 51821, 51822

// A world is two machines and the keys of everybody.
type world struct {
	*lab.Pair
	lab  *lab.Lab
	peer *peer.Peer // the restarted one

	wireguard, serve, device              peer.Key // servers
	long, short, toServe, viaGo, toDevice peer.Key // clients
}

// The clients' addresses. Those of serve are a gateway's, and those of the device
// a network of its own.
var (
	longAddr     = netip.MustParsePrefix("10.9.0.2/32")
	shortAddr    = netip.MustParsePrefix("10.9.0.3/32")
	viaGoAddr    = netip.MustParsePrefix("10.97.0.2/32")
	toServeAddr  = netip.MustParsePrefix("10.97.0.3/32")
	toDeviceAddr = netip.MustParsePrefix("10.10.0.2/32")
	deviceNet    = netip.MustParsePrefix("10.10.0.0/24")
)

func newWorld(t *testing.T) *world {
	t.Helper()
	l := suite.Lab(t)
	p, err := lab.NewPair()
	if err != nil {
		t.Fatalf("lay a cable: %v", err)
	}
	t.Cleanup(p.Close)
	w := &world{Pair: p, lab: l, wireguard: peer.NewKey(), serve: peer.NewKey(), device: peer.NewKey(), long: peer.NewKey(),
		short: peer.NewKey(), toServe: peer.NewKey(), viaGo: peer.NewKey(), toDevice: peer.NewKey()}
	if err := w.Server.Do(startServices); err != nil {
		t.Fatalf("services: %v", err)
	}
	return w
}

// startServices starts echo and names on every address of the server.
func startServices() error {
	// The gateway passes pings on where this allows it. In a lab that is not
	// root's it cannot be allowed, and they are lost.
	os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0)
	names := &services.Nameserver{Addrs: map[string][]netip.Addr{"secret.test.": {lab.ServiceV4, lab.ServiceV6}}}
	l, err := net.Listen("tcp", ":7")
	if err != nil {
		return err
	}
	go services.EchoTCP(l)
	go forget(names)
	for _, a := range []netip.Addr{lab.ServiceV4, lab.ElsewhereV4, lab.NameserverV4} {
		echo, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 7).String())
		if err != nil {
			return err
		}
		go services.EchoUDP(echo)
		dns, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 53).String())
		if err != nil {
			return err
		}
		go names.ServeUDP(dns)
	}
	return nil
}

// forget keeps a nameserver from remembering hours of questions.
func forget(names *services.Nameserver) {
	for range time.Tick(time.Minute) {
		names.Forget()
	}
}

// startPeer starts the wireguard-go that is restarted.
func (w *world) startPeer(t *testing.T) {
	t.Helper()
	err := w.Server.Do(func() (err error) {
		config := peer.Device(w.wireguard.Private, wireguardPort) + peer.Remote(w.long.Public, "", "", longAddr) + peer.Remote(w.short.Public, "", "", shortAddr)
		if w.peer, err = peer.Start("wg0", config); err != nil {
			return err
		}
		return lab.BringUp("wg0", nil, []netip.Prefix{lab.TunnelV4}, lab.ServiceV4)
	})
	if err != nil {
		t.Fatalf("start wireguard-go: %v", err)
	}
}

// startServe starts adit serve and the client of it that is wireguard-go.
func (w *world) startServe(t *testing.T) *suite.Program {
	t.Helper()
	key, err := w.lab.User.WriteFile("gw.key", w.serve.Private+"\n", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p := suite.Start(t, w.Server, w.lab.User, adit, "serve", "--listen", fmt.Sprintf(":%d", servePort), "--private-key", key,
		"--peer", fmt.Sprintf("%s=%v", w.viaGo.Public, viaGoAddr.Addr()),
		"--peer", fmt.Sprintf("%s=%v", w.toServe.Public, toServeAddr.Addr()))
	p.WaitSaid("serving")
	err = w.Client.Do(func() error {
		far := []netip.Prefix{netip.PrefixFrom(lab.ElsewhereV4, 32), netip.MustParsePrefix("10.97.0.1/32")}
		config := peer.Device(w.viaGo.Private, 0) + peer.Remote(w.serve.Public, "", endpoint(servePort).String(), far...)
		via, err := peer.Start("wg1", config)
		if err != nil {
			return err
		}
		t.Cleanup(via.Kill)
		return lab.BringUp("wg1", []netip.Prefix{viaGoAddr}, far, viaGoAddr.Addr())
	})
	if err != nil {
		t.Fatalf("start wireguard-go: %v", err)
	}
	return p
}

// deviceName is the interface of adit device.
const deviceName = "adit0"

// startDevice starts adit device; nil if it cannot be here.
func (w *world) startDevice(t *testing.T) *suite.Program {
	t.Helper()
	if !lab.AsRoot() {
		t.Log("not root: without adit device")
		return nil
	}
	p := suite.Start(t, w.Server, w.lab.Root(), adit, "device", "-f", deviceName)
	for end := time.Now().Add(suite.Deadline); ; time.Sleep(20 * time.Millisecond) {
		err := setDevice(peer.Device(w.device.Private, devicePort) + peer.Remote(w.toDevice.Public, "", "", toDeviceAddr))
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("adit device: %v: %s", err, p.Said())
		}
	}
	if err := w.Server.Do(func() error {
		return lab.BringUp(deviceName, nil, []netip.Prefix{deviceNet}, lab.ServiceV4)
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// setDevice configures adit device by lines of the cross-platform interface.
func setDevice(config string) error {
	conn, err := net.Dial("unix", "/var/run/wireguard/"+deviceName+".sock")
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(suite.Deadline))
	fmt.Fprintf(conn, "set=1\n%s\n\n", strings.TrimRight(config, "\n"))
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && answer != "errno=0\n" {
		err = fmt.Errorf("refused: %s", answer)
	}
	return err
}

// reconfigure gives the device strangers as peers, and takes them away again.
func reconfigure() error {
	var add, remove string
	for range 30 {
		k := peer.NewKey()
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(rand.Uint32()), 0}), 24)
		one := peer.Remote(k.Public, peer.NewPresharedKey(), "192.0.2.1:9", network)
		add += one
		remove += strings.SplitAfter(one, "\n")[0] + "remove=true\n"
	}
	if err := setDevice(add); err != nil {
		return err
	}
	return setDevice(remove)
}

func endpoint(port uint16) netip.AddrPort { return netip.AddrPortFrom(lab.ServerV4.Addr(), port) }

// conf writes a wg-quick file.
func (w *world) conf(t *testing.T, name string, client, server peer.Key, addr netip.Prefix, port uint16) string {
	t.Helper()
	path, err := w.lab.User.WriteFile(name+".conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0\nEndpoint = %v\n",
		client.Private, addr, server.Public, endpoint(port)), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
