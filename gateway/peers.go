package gateway

import "fmt"

// CheckPeers returns an error if a peer's key is none, if a peer is there twice,
// or if an address would be two peers': a packet to it could go to only one of
// them, and which one would depend on their order.
func CheckPeers(peers []Peer) error {
	for i, p := range peers {
		if p.PublicKey.IsLowOrder() {
			return fmt.Errorf("peer %s: the public key is of low order: not a key, for everybody could read what is sent to it", p.PublicKey.Short())
		}
		for _, q := range peers[:i] {
			if p.PublicKey == q.PublicKey {
				return fmt.Errorf("peer %s is there twice", p.PublicKey.Short())
			}
			for _, a := range p.Addresses {
				for _, b := range q.Addresses {
					if a.Overlaps(b) {
						return fmt.Errorf("%v of peer %s overlaps with %v of peer %s", a, p.PublicKey.Short(), b, q.PublicKey.Short())
					}
				}
			}
		}
	}
	return nil
}
