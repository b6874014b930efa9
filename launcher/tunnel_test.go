package launcher

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"adit/config"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// A family without an address in the tunnel gets no route, so that programs
// turn to the other one without waiting.
func TestNoAddressMeansNoRoute(t *testing.T) {
	all := prefixes("0.0.0.0/0", "::/0", "10.0.0.0/8", "fd00::/8")
	tests := []struct {
		name      string
		addresses []netip.Prefix
		opts      config.Options
		wantAddrs []netip.Prefix
		wantNets  []netip.Prefix
	}{
		{"both", prefixes("10.0.0.2/32", "fd00::2/128"), config.Options{}, prefixes("10.0.0.2/32", "fd00::2/128"), all},
		{"only IPv4", prefixes("10.0.0.2/24"), config.Options{}, prefixes("10.0.0.2/24"), prefixes("0.0.0.0/0", "10.0.0.0/8")},
		{"only IPv6", prefixes("fd00::2/64"), config.Options{}, prefixes("fd00::2/64"), prefixes("::/0", "fd00::/8")},
		{"-4", prefixes("10.0.0.2/32", "fd00::2/128"), config.Options{IPv4Only: true}, prefixes("10.0.0.2/32"), prefixes("0.0.0.0/0", "10.0.0.0/8")},
		{"-6", prefixes("10.0.0.2/32", "fd00::2/128"), config.Options{IPv6Only: true}, prefixes("fd00::2/128"), prefixes("::/0", "fd00::/8")},
		{"-6 without IPv6", prefixes("10.0.0.2/32"), config.Options{IPv6Only: true}, nil, nil},
	}
	for _, tt := range tests {
		in := insideOf(&config.Config{Addresses: tt.addresses, Peers: []config.Peer{{AllowedIPs: all}}, Options: tt.opts})
		if !slices.Equal(in.addresses, tt.wantAddrs) || !slices.Equal(in.routes, tt.wantNets) {
			t.Errorf("%s: got %v, routes %v; want %v, %v", tt.name, in.addresses, in.routes, tt.wantAddrs, tt.wantNets)
		}
	}
}

func TestResolverAsksOnceAndUnmaps(t *testing.T) {
	r := newResolver()
	asked := 0
	r.ask = fixedAnswer(&asked, netip.MustParseAddr("::ffff:192.0.2.7"))
	for range 3 {
		got, err := r.lookup(t.Context(), "vpn.test")
		if err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.0.2.7")}) {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if got, err := r.lookup(t.Context(), "2001:db8::1"); err != nil || got[0] != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("a literal: got %v, %v", got, err)
	}
	if asked != 1 {
		t.Errorf("the host's resolver was asked %d times, want 1", asked)
	}
}

func fixedAnswer(asked *int, addrs ...netip.Addr) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		*asked++
		return slices.Clone(addrs), nil
	}
}
