package gateway

import (
	"net/netip"
	"testing"

	"adit/wg"
)

func TestNoTwoPeersHaveTheSameAddress(t *testing.T) {
	peer := func(key byte, addresses ...string) Peer {
		p := Peer{PublicKey: wg.PublicKey{8 + key}} // 1 would be of low order
		for _, a := range addresses {
			p.Addresses = append(p.Addresses, netip.MustParsePrefix(a))
		}
		return p
	}
	for _, c := range []struct {
		name  string
		peers []Peer
		want  bool
	}{
		{"nobody", nil, true},
		{"neighbours", []Peer{peer(1, "10.97.0.2/32", "fd00::2/128"), peer(2, "10.97.0.3/32", "fd00::3/128")}, true},
		{"one with an address twice", []Peer{peer(1, "10.97.0.2/32", "10.97.0.0/24")}, true},
		{"a peer twice", []Peer{peer(1, "10.97.0.2/32"), peer(1, "10.97.0.3/32")}, false},
		{"the same address", []Peer{peer(1, "10.97.0.2/32"), peer(2, "10.97.0.2/32")}, false},
		{"a key of low order", []Peer{{PublicKey: wg.PublicKey{1}, Addresses: peer(1, "10.97.0.2/32").Addresses}}, false},
		{"no key", []Peer{{Addresses: peer(1, "10.97.0.2/32").Addresses}}, false},
		{"one within the network of another", []Peer{peer(1, "10.97.0.2/32"), peer(2, "fd00::/8"), peer(3, "fd00::2/128")}, false},
	} {
		if err := CheckPeers(c.peers); (err == nil) != c.want {
			t.Errorf("%s: got %v, want acceptance to be %t", c.name, err, c.want)
		}
		if c.want {
			continue
		}
		if _, err := New(Options{PrivateKey: wg.NewPrivateKey(), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Peers: c.peers}); err == nil {
			t.Errorf("%s: New accepted it", c.name)
		}
	}
}
