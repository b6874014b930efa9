package gateway

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestCloseDoesNotWaitForTheNetwork: with a question and a connection on their
// way to where nobody answers.
func TestCloseDoesNotWaitForTheNetwork(t *testing.T) {
	dialling := make(chan struct{})
	x, peer := newPair(t, Options{DNS: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	asked := make(chan struct{})
	silent, port := listenUDP(t)
	go func() {
		silent.Read(make([]byte, 512))
		close(asked)
	}()
	x.nameservers = func() ([]netip.AddrPort, error) {
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.serveDNS(ctx) }()
	go peer.LookupNetIP(ctx, "ip4", "www.example.org")
	go peer.DialContext(ctx, "tcp", "198.51.100.1:80")
	<-asked
	<-dialling
	start := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serveDNS: %v", err)
	}
	t.Logf("DNS ended after %v", time.Since(start))
	x.close()
	// The question is asked for seven seconds, the connection dialled for two minutes.
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the end took %v", d)
	}
}
