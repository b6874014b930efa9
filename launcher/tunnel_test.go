package launcher

import (
	"context"
	"encoding/json"
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

// A message to the stage has a bound, and so has what a kernel does with routes:
// of too many the router alone knows which are covered.
func TestTooManyRoutesBecomeDefaultRoutes(t *testing.T) {
	var many []netip.Prefix
	for i := range maxRoutes + 1 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	tests := []struct {
		name      string
		addresses []netip.Prefix
		allowed   []netip.Prefix
		want      []netip.Prefix
	}{
		{"as many as can be", prefixes("10.0.0.2/32"), many[1:], many[1:]},
		{"only IPv4", prefixes("10.0.0.2/32"), many, prefixes("0.0.0.0/0")},
		{"both families", prefixes("10.0.0.2/32", "fd00::2/128"), append(prefixes("fd00::/8"), many...), prefixes("0.0.0.0/0", "::/0")},
		{"a family that the tunnel does not carry", prefixes("10.0.0.2/32", "fd00::2/128"), many, prefixes("0.0.0.0/0")},
		{"IPv6 does not count without an address", prefixes("10.0.0.2/32"), append(prefixes("fd00::/8"), many[1:]...), many[1:]},
		{"none of that family", prefixes("fd00::2/128"), many, nil},
	}
	for _, tt := range tests {
		cfg := &config.Config{Addresses: tt.addresses, Peers: []config.Peer{{AllowedIPs: tt.allowed}}}
		tun := &tunnel{e: newTestEngine(), cfg: cfg}
		in := insideOf(cfg)
		got := tun.stageConfig(in, 1420)
		if !slices.Equal(got.Routes, tt.want) {
			t.Errorf("%s: got %d routes, %v …; want %d, %v …", tt.name,
				len(got.Routes), got.Routes[:min(2, len(got.Routes))], len(tt.want), tt.want[:min(2, len(tt.want))])
		}
		if !slices.Equal(got.Addresses, tt.addresses) || got.MTU != 1420 {
			t.Errorf("%s: addresses %v, MTU %d", tt.name, got.Addresses, got.MTU)
		}
	}
}

// The message with the most routes has to fit; a seqpacket has no second part.
func TestLargestStageConfigFitsIntoOneMessage(t *testing.T) {
	c := &stageConfig{MTU: 1420}
	for i := range maxRoutes {
		a := netip.AddrFrom16([16]byte{0xfd, 0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xca, 0xfe, 0xca, 0xfe, 0xca, 0xfe, 0xca, byte(0x10 + i>>8), byte(i)})
		c.Routes = append(c.Routes, netip.PrefixFrom(a, 128))
	}
	b, err := json.Marshal(c)
	if err != nil || len(b) > maxMessage/2 {
		t.Errorf("%d routes make %d bytes (%v), want at most half of %d", maxRoutes, len(b), err, maxMessage)
	}
}

func TestNameserversOfTheNamespace(t *testing.T) {
	servers, loopback := []netip.Addr{netip.MustParseAddr("10.0.0.1")}, []netip.Addr{netip.MustParseAddr("127.0.0.53")}
	for _, tt := range []struct {
		name         string
		mode         config.DNSMode
		dns, want    []netip.Addr
		wantLoopback bool
	}{
		{"the file's", config.DNSFile, servers, servers, true},
		{"none in the file", config.DNSFile, nil, nil, false},
		{"the host's", config.DNSHost, servers, loopback, true},
		{"none", config.DNSOff, servers, nil, false},
	} {
		tun := &tunnel{e: newTestEngine(), cfg: &config.Config{DNS: tt.dns, Options: config.Options{DNSMode: tt.mode}}}
		got := tun.stageConfig(inside{}, 1420)
		if !slices.Equal(got.DNS, tt.want) || got.Loopback != tt.wantLoopback {
			t.Errorf("%s: got %v, loopback %v; want %v, %v", tt.name, got.DNS, got.Loopback, tt.want, tt.wantLoopback)
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
