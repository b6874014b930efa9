package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"adit/gateway"
	"adit/wg"
)

func TestPageComesThroughTheTunnel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello\n")
	}))
	defer server.Close()

	o := gateway.Options{
		PrivateKey: wg.NewPrivateKey(),
		Listen:     netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t)),
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
		},
	}
	peer, text, err := gateway.NewPeer("test", o, o.Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	o.Peers = []gateway.Peer{peer}
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Run(ctx) }()
	file := filepath.Join(t.TempDir(), "wg0.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	got := stdout(t, func() {
		if err := fetch(ctx, file, "http://198.51.100.7/"); err != nil {
			t.Error(err)
		}
	})
	if want := "hello\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// stdout returns what f writes to standard output.
func stdout(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	f()
	os.Stdout = old
	w.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}
