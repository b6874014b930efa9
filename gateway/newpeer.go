package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"adit/wg"
)

// ErrEndpoint is wrapped by NewPeer's error for an endpoint that peers could
// not use.
var ErrEndpoint = errors.New("want HOST:PORT")

// NewPeer makes keys and addresses for one more peer of the gateway that o
// describes. It returns the peer, to be put into o.Peers, and the text of the
// peer's wg-quick file, which holds its private key. The name is for humans;
// endpoint is the "host:port" at which the peer finds the gateway. The
// addresses are the first free ones of o.Addresses' networks.
func NewPeer(name string, o Options, endpoint string) (Peer, string, error) {
	o = o.withDefaults()
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Peer{}, "", fmt.Errorf("make a peer: %q is not a name", name)
	}
	if o.PrivateKey.IsZero() {
		return Peer{}, "", errors.New("make a peer: the gateway has no private key")
	}
	if !isEndpoint(endpoint) {
		return Peer{}, "", fmt.Errorf("make a peer: %q: %w", endpoint, ErrEndpoint)
	}
	key := wg.NewPrivateKey()
	psk := wg.NewPresharedKey()
	peer := Peer{PublicKey: key.Public(), PresharedKey: psk}
	var dns []string
	for _, p := range o.Addresses {
		addr, err := freeAddress(p, o.Peers)
		if err != nil {
			return Peer{}, "", fmt.Errorf("make a peer: %w", err)
		}
		peer.Addresses = append(peer.Addresses, netip.PrefixFrom(addr, addr.BitLen()))
		dns = append(dns, p.Addr().String())
	}
	return peer, clientFile(name, o, key, peer, dns, endpoint), nil
}

// isEndpoint reports whether s is a "host:port" that a wg-quick file can hold.
func isEndpoint(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(s, " \t\r\n#") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// maxTried bounds the search in a network of which a peer has very many.
const maxTried = 1 << 16

// freeAddress returns the lowest address of p's network that is neither p's
// own nor a peer's, nor one with a meaning of its own.
func freeAddress(p netip.Prefix, peers []Peer) (netip.Addr, error) {
	network := p.Masked()
	taken := func(addr netip.Addr) bool {
		if addr == p.Addr() {
			return true
		}
		for _, peer := range peers {
			for _, q := range peer.Addresses {
				if q.Contains(addr) {
					return true
				}
			}
		}
		return false
	}
	addr := network.Addr().Next()
	for range maxTried {
		if !network.Contains(addr) {
			break
		}
		if addr.Is4() && !network.Contains(addr.Next()) {
			break // the broadcast address
		}
		if !taken(addr) {
			return addr, nil
		}
		addr = addr.Next()
	}
	return netip.Addr{}, fmt.Errorf("no address of %v is free", network)
}

// clientFile returns a wg-quick file for peer.
func clientFile(name string, o Options, key wg.PrivateKey, peer Peer, dns []string, endpoint string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n[Interface]\nPrivateKey = %s\nAddress = %s\n", name, key.Base64(), joinPrefixes(peer.Addresses))
	if o.DNS {
		fmt.Fprintf(&b, "DNS = %s\n", strings.Join(dns, ", "))
	}
	if o.MTU != DefaultMTU {
		fmt.Fprintf(&b, "MTU = %d\n", o.MTU)
	}
	allowed := make([]netip.Prefix, 0, len(peer.Addresses))
	for _, p := range peer.Addresses {
		everything := netip.IPv4Unspecified()
		if p.Addr().Is6() {
			everything = netip.IPv6Unspecified()
		}
		allowed = append(allowed, netip.PrefixFrom(everything, 0))
	}
	fmt.Fprintf(&b, "\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nEndpoint = %s\nAllowedIPs = %s\n",
		o.PrivateKey.Public(), peer.PresharedKey.Base64(), endpoint, joinPrefixes(allowed))
	return b.String()
}

func joinPrefixes(list []netip.Prefix) string {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}
