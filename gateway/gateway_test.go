package gateway

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/config"
	"adit/link"
	"adit/wg"

	"golang.org/x/net/icmp"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	wgnetstack "golang.zx2c4.com/wireguard/tun/netstack"
)

// startGateway runs a gateway on the loopback with one peer of the key. Behind it
// is this host's loopback, or, with realDial, what a gateway in use would reach.
func startGateway(t *testing.T, o Options, peer wg.PublicKey, psk wg.PresharedKey, realDial bool) *Gateway {
	t.Helper()
	o.PrivateKey = wg.NewPrivateKey()
	o.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	o.Peers = []Peer{{PublicKey: peer, PresharedKey: psk, Addresses: peerAddresses}}
	if o.Dial == nil && !realDial {
		o.Dial = dialLoopback
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not return")
		}
	})
	return g
}

// wantEcho sends and gets back a megabyte.
func wantEcho(t *testing.T, c net.Conn) {
	t.Helper()
	const size = 1 << 20
	c.SetDeadline(time.Now().Add(30 * time.Second))
	go io.Copy(c, io.LimitReader(zeroes{}, size))
	if n, err := io.Copy(io.Discard, io.LimitReader(c, size)); n != size || err != nil {
		t.Errorf("got %d bytes, %v, want %d", n, err, size)
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { return len(b), nil }

func TestOurEngineThroughTheGateway(t *testing.T) {
	key, psk := wg.NewPrivateKey(), wg.NewPresharedKey()
	g := startGateway(t, Options{}, key.Public(), psk, false)
	peer := newPeerStack(t)
	udp, err := link.ListenUDP(link.UDPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := wg.New(wg.Config{
		PrivateKey: key,
		Peers: []wg.Peer{{
			PublicKey:    g.PublicKey(),
			PresharedKey: psk,
			Endpoint:     wg.Endpoint{Host: g.Addr().Addr().String(), Port: g.Addr().Port()},
			AllowedIPs:   []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		}},
		Device:    peer.Device(),
		Transport: udp,
	})
	if err != nil {
		t.Fatal(err)
	}
	peer.SetUpstream(engine.Outbound)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("engine: %v", err)
		}
	}()
	port := listenTCP(t, echo)
	for _, host := range []string{"198.51.100.1", "2001:db8::1"} {
		wantEcho(t, dial(t, peer, "tcp", host, port))
	}
	_, err = peer.DialContext(t.Context(), "tcp", fmt.Sprintf("198.51.100.1:%d", closedPort))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: got %v, want ECONNREFUSED", err)
	}
	if s := g.Status(); len(s.Peers) != 1 || s.Peers[0].RxBytes < 1<<20 {
		t.Errorf("the gateway's status knows nothing of it: %+v", s)
	}
}

// startWireguardGo runs a client of another make, its packets in memory.
func startWireguardGo(t *testing.T, key wg.PrivateKey, psk wg.PresharedKey, g *Gateway) *wgnetstack.Net {
	t.Helper()
	var addrs []netip.Addr
	for _, p := range peerAddresses {
		addrs = append(addrs, p.Addr())
	}
	tun, tnet, err := wgnetstack.CreateNetTUN(addrs, []netip.Addr{netip.MustParseAddr("10.97.0.1")}, DefaultMTU)
	if err != nil {
		t.Fatal(err)
	}
	d := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "wireguard-go: "))
	t.Cleanup(d.Close)
	err = d.IpcSet(fmt.Sprintf("private_key=%s\npublic_key=%s\npreshared_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n",
		hexKey(key.Base64()), hexKey(g.PublicKey().String()), hexKey(psk.Base64()), g.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Up(); err != nil {
		t.Fatal(err)
	}
	return tnet
}

func TestWireguardGoThroughTheGateway(t *testing.T) {
	key, psk := wg.NewPrivateKey(), wg.NewPresharedKey()
	g := startGateway(t, Options{}, key.Public(), psk, false)
	tnet := startWireguardGo(t, key, psk, g)
	port := listenTCP(t, echo)
	for _, host := range []string{"198.51.100.1", "2001:db8::1"} {
		c, err := tnet.DialContext(t.Context(), "tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		wantEcho(t, c)
		c.Close()
	}
	if _, err := tnet.DialContext(t.Context(), "tcp", fmt.Sprintf("198.51.100.1:%d", closedPort)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("closed port: got %v, want a refusal", err)
	}
	for _, host := range []string{"10.97.0.1", "fd61:6469:7400::1"} { // the gateway answers for itself
		c, err := tnet.Dial("ping", host)
		if err != nil {
			t.Fatal(err)
		}
		wantPong(t, c)
		c.Close()
	}
}

// wantPong sends an echo request and waits for its reply.
func wantPong(t *testing.T, c net.Conn) {
	t.Helper()
	v6 := strings.Contains(c.RemoteAddr().String(), ":")
	request, reply := byte(echo4), byte(echoReply4)
	if v6 {
		request, reply = echo6, echoReply6
	}
	msg := []byte{request, 0, 0, 0, 0, 0, 0, 1, 'a', 'd', 'i', 't'}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	n, err := c.Read(got)
	if err != nil || n != len(msg) || got[0] != reply || string(got[8:n]) != "adit" {
		t.Errorf("%v: got %x, %v, want an echo reply", c.RemoteAddr(), got[:n], err)
	}
}

// TestPingsLeaveByTheHost pings an address of this host that is not loopback.
func TestPingsLeaveByTheHost(t *testing.T) {
	target := hostAddress(t)
	probe, err := icmp.ListenPacket("udp4", "0.0.0.0")
	if err != nil {
		t.Skipf("this host has no ping sockets for us: %v", err)
	}
	probe.Close()
	key, psk := wg.NewPrivateKey(), wg.NewPresharedKey()
	g := startGateway(t, Options{}, key.Public(), psk, true)
	tnet := startWireguardGo(t, key, psk, g)
	for range 2 { // two programs at once
		c, err := tnet.Dial("ping", target.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wantPong(t, c)
		wantPong(t, c)
	}
}

// hostAddress returns an IPv4 address of this host that a peer may reach.
func hostAddress(t *testing.T) netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	t.Skip("this host has no address but loopback")
	return netip.Addr{}
}

func TestListenPortInUseIsAnError(t *testing.T) {
	c, port := listenUDP(t)
	defer c.Close()
	_, err := New(Options{PrivateKey: wg.NewPrivateKey(), Listen: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", port))})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
}

func TestNewPeerFileIsAccepted(t *testing.T) {
	o := Options{PrivateKey: wg.NewPrivateKey(), DNS: true, MTU: 1380}
	for i, want := range []string{"10.97.0.2/32 fd61:6469:7400::2/128", "10.97.0.3/32 fd61:6469:7400::3/128"} {
		peer, text, err := NewPeer(fmt.Sprintf("laptop %d", i), o, "gw.example.org:51820")
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse("new.conf", strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if c.PrivateKey.Public() != peer.PublicKey || c.Peers[0].PublicKey != o.PrivateKey.Public() {
			t.Error("the keys do not belong together")
		}
		if got := fmt.Sprint(peer.Addresses); got != "["+want+"]" || fmt.Sprint(c.Addresses) != got {
			t.Errorf("got addresses %s, in the file %v, want %s", got, c.Addresses, want)
		}
		if c.MTU != 1380 || fmt.Sprint(c.DNS) != "[10.97.0.1 fd61:6469:7400::1]" || c.Peers[0].Endpoint.Host != "gw.example.org" {
			t.Errorf("the file says %+v", c)
		}
		o.Peers = append(o.Peers, peer)
	}
	o.Addresses = []netip.Prefix{netip.MustParsePrefix("10.97.0.1/30")}
	if _, _, err := NewPeer("c", o, "gw:1"); err == nil {
		t.Error("a full network has a free address")
	}
	for _, name := range []string{"", "a\n[Interface]", "tab\t"} {
		if _, _, err := NewPeer(name, o, "gw:1"); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	for _, endpoint := range []string{"", "gw", "gw:", "gw:0", "gw:65536", "gw:http", "gw:1 #", "gw\n:1"} {
		if _, _, err := NewPeer("a", o, endpoint); !errors.Is(err, ErrEndpoint) {
			t.Errorf("endpoint %q: got %v, want ErrEndpoint", endpoint, err)
		}
	}
}

func hexKey(b64 string) string {
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}
