package wg

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"adit/packet"
	"adit/wg/wgtest"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// Where the two ends of a tunnel are, outside and inside.
var (
	outsideA = netip.MustParseAddrPort("192.0.2.1:1001")
	outsideB = netip.MustParseAddrPort("192.0.2.2:1002")
	insideA  = netip.MustParseAddrPort("10.0.0.1:5000")
	insideB  = netip.MustParseAddrPort("10.0.0.2:5000")
	inside6A = netip.MustParseAddrPort("[fd00::1]:5000")
	inside6B = netip.MustParseAddrPort("[fd00::2]:5000")
)

func allowed(addrs ...netip.AddrPort) (prefixes []netip.Prefix) {
	for _, a := range addrs {
		prefixes = append(prefixes, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	return prefixes
}

func endpointAt(a netip.AddrPort) Endpoint {
	return Endpoint{Host: a.Addr().String(), Port: a.Port()}
}

// A goPeer is wireguard-go on one Transport.
type goPeer struct {
	dev *device.Device
	tun *tuntest.ChannelTUN
	tr  *wgtest.Transport
}

func newGoPeer(t *testing.T, tr *wgtest.Transport, private PrivateKey, peer Peer) *goPeer {
	t.Helper()
	g := &goPeer{tun: tuntest.NewChannelTUN(), tr: tr}
	g.dev = device.NewDevice(g.tun.TUN(), &bridge{tr: tr}, device.NewLogger(device.LogLevelSilent, ""))
	conf := fmt.Sprintf("private_key=%s\npublic_key=%s\npreshared_key=%s\n", hexOf(private.b[:]),
		hexOf(peer.PublicKey[:]), hexOf(peer.PresharedKey.b[:]))
	for _, a := range peer.AllowedIPs {
		conf += "allowed_ip=" + a.String() + "\n"
	}
	if peer.Endpoint.Host != "" {
		conf += "endpoint=" + net.JoinHostPort(peer.Endpoint.Host, fmt.Sprint(peer.Endpoint.Port)) + "\n"
	}
	if err := g.dev.IpcSet(conf); err != nil {
		t.Fatal(err)
	}
	if err := g.dev.Up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.dev.Close)
	return g
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// bridge is a conn.Bind on a wgtest.Transport.
type bridge struct{ tr *wgtest.Transport }

type bridgeEndpoint netip.AddrPort

func (bridgeEndpoint) ClearSrc()             {}
func (bridgeEndpoint) SrcToString() string   { return "" }
func (e bridgeEndpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e bridgeEndpoint) DstToBytes() []byte  { b, _ := netip.AddrPort(e).MarshalBinary(); return b }
func (e bridgeEndpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (bridgeEndpoint) SrcIP() netip.Addr     { return netip.Addr{} }

func (b *bridge) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	batch := packet.NewBatch(packet.Room{})
	next := 0
	receive := func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		if next == batch.Len() {
			if err := b.tr.Read(batch); err != nil {
				return 0, err
			}
			next = 0
		}
		n := 0
		for n < len(packets) && next < batch.Len() {
			sizes[n] = copy(packets[n], batch.Packet(next))
			eps[n] = bridgeEndpoint(batch.Path(next).Remote)
			n, next = n+1, next+1
		}
		return n, nil
	}
	return []conn.ReceiveFunc{receive}, b.tr.Addr().Port(), nil
}

func (b *bridge) Close() error         { return nil }
func (b *bridge) SetMark(uint32) error { return nil }
func (b *bridge) BatchSize() int       { return 32 }
func (b *bridge) Send(bufs [][]byte, ep conn.Endpoint) error {
	for _, d := range bufs {
		b.tr.Send(d, netip.AddrPort(ep.(bridgeEndpoint)), 0)
	}
	return nil
}

func (b *bridge) ParseEndpoint(s string) (conn.Endpoint, error) {
	ap, err := netip.ParseAddrPort(s)
	return bridgeEndpoint(ap), err
}

// runEngine runs an Engine until the test ends.
func runEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestPacketsReachWireGuardGoAndComeBack(t *testing.T) {
	for _, psk := range []PresharedKey{{}, NewPresharedKey()} {
		t.Run(fmt.Sprintf("psk=%v", !psk.IsZero()), func(t *testing.T) {
			ctx := testContext(t)
			network := wgtest.NewNetwork(1)
			keyA, keyB := NewPrivateKey(), NewPrivateKey()
			peer := newGoPeer(t, network.Listen(outsideB), keyB,
				Peer{PublicKey: keyA.Public(), PresharedKey: psk, AllowedIPs: allowed(insideA)})
			pipe := wgtest.NewPipe(1420)
			trA := network.Listen(outsideA)
			e := runEngine(t, Config{PrivateKey: keyA, Device: pipe, Transport: trA, Peers: []Peer{{
				PublicKey: keyB.Public(), PresharedKey: psk, Endpoint: endpointAt(outsideB), AllowedIPs: allowed(insideB)}}})
			t.Cleanup(func() { peer.tr.Close() })
			if err := e.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			there := wgtest.UDP(insideA, insideB, 100, []byte("ping"))
			pipe.Send(there)
			select {
			case got := <-peer.tun.Inbound:
				if string(got) != string(there) {
					t.Fatalf("wireguard-go got %x, want %x", got, there)
				}
			case <-ctx.Done():
				t.Fatal("the packet did not reach wireguard-go")
			}
			back := wgtest.UDP(insideB, insideA, 1420, []byte("pong"))
			peer.tun.Outbound <- back
			if got := pipe.Receive(ctx); string(got) != string(back) {
				t.Fatalf("got %x, want %x", got, back)
			}
		})
	}
}
