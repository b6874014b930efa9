package netstack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// gVisor adds to its routes in time that grows with their square, and searches
// them one by one.
func TestAHundredThousandPrefixesAreOneRouteForGVisor(t *testing.T) {
	var routes []netip.Prefix
	for i := range 100_000 { // every second /24 of 20.0.0.0/6
		n := uint32(20<<24 + i<<9)
		routes = append(routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), 0}), 24))
	}
	s := newTestStack(t, Config{Addresses: mustPrefixes("10.9.0.2/32", "fd00:9::2/128"), Routes: routes})
	if n := len(s.net.GetRouteTable()); n != 1 {
		t.Errorf("%d routes of gVisor, want 1: there is no IPv6 in the tunnel", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var timeout net.Error
	if _, err := s.DialContext(ctx, "tcp", "20.0.2.1:80"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("covered: got %v, want a timeout: nobody answers", err)
	}
	for _, far := range []string{"20.0.1.1:80", "[2001:db8::1]:80"} {
		if _, err := s.DialContext(t.Context(), "tcp", far); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s, not covered: got %v, want ENETUNREACH", far, err)
		}
		if _, err := s.DialContext(t.Context(), "udp", far); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("udp, %s, not covered: got %v, want ENETUNREACH", far, err)
		}
	}
}
