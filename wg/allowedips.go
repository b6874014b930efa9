package wg

import (
	"math/bits"
	"net/netip"
)

// An address is an IP address as two words, for the trie. IPv4 addresses are
// the top 32 bits of hi. Which family it is says which trie it is looked up in.
type address struct{ hi, lo uint64 }

func makeAddress(a netip.Addr) address {
	if a.Is4() {
		b := a.As4()
		return address4(b[:])
	}
	b := a.As16()
	return address6(b[:])
}

// address4 returns the address in the 4 bytes b.
func address4(b []byte) address {
	_ = b[3]
	return address{hi: uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32}
}

// address6 returns the address in the 16 bytes b.
func address6(b []byte) address {
	_ = b[15]
	var a address
	for i := range 8 {
		a.hi = a.hi<<8 | uint64(b[i])
		a.lo = a.lo<<8 | uint64(b[8+i])
	}
	return a
}

// bit returns bit i, counted from the left.
func (a address) bit(i uint8) uint8 {
	if i < 64 {
		return uint8(a.hi >> (63 - i) & 1)
	}
	return uint8(a.lo >> (127 - i) & 1)
}

// common returns how many leading bits a and b share.
func (a address) common(b address) uint8 {
	if d := a.hi ^ b.hi; d != 0 {
		return uint8(bits.LeadingZeros64(d))
	}
	return 64 + uint8(bits.LeadingZeros64(a.lo^b.lo))
}

// An allowedIPs maps addresses to peers by longest prefix (§2, "cryptokey
// routing"): a binary trie with the paths without branches compressed, one for
// each family. Once built it does not change, so that it is read without a
// lock. The zero value is empty.
type allowedIPs struct{ v4, v6 *trieNode }

// A trieNode stands for a prefix. All prefixes below it are longer and begin
// with it.
type trieNode struct {
	prefix address
	peer   *peer // nil: only a branch
	child  [2]*trieNode
	length uint8
}

// insert routes p to the peer. A peer that had exactly p loses it.
func (t *allowedIPs) insert(p netip.Prefix, to *peer) {
	root, addr, length := &t.v6, p.Masked().Addr(), p.Bits()
	if addr.Is4() {
		root = &t.v4
	}
	insertTrie(root, makeAddress(addr), uint8(length), to)
}

func insertTrie(at **trieNode, prefix address, length uint8, to *peer) {
	for {
		n := *at
		if n == nil {
			*at = &trieNode{prefix: prefix, length: length, peer: to}
			return
		}
		shared := min(n.prefix.common(prefix), n.length, length)
		switch {
		case shared == n.length && shared == length:
			n.peer = to
			return
		case shared == n.length: // n is a prefix of the new one
			at = &n.child[prefix.bit(shared)]
			continue
		}
		// Something has to go between *at and n: the new prefix itself, or a
		// branch to it and to n.
		between := &trieNode{prefix: prefix, length: shared}
		between.child[n.prefix.bit(shared)] = n
		if shared == length {
			between.peer = to
		} else {
			between.child[prefix.bit(shared)] = &trieNode{prefix: prefix, length: length, peer: to}
		}
		*at = between
		return
	}
}

// without returns a copy of the trie at n less what is routed to p. The part of
// it that p has nothing in is shared with n.
func (n *trieNode) without(p *peer) *trieNode {
	if n == nil {
		return nil
	}
	left, right := n.child[0].without(p), n.child[1].without(p)
	if n.peer != p && left == n.child[0] && right == n.child[1] {
		return n
	}
	c := &trieNode{prefix: n.prefix, length: n.length, peer: n.peer, child: [2]*trieNode{left, right}}
	if n.peer == p {
		c.peer = nil
	}
	switch {
	case c.peer != nil || left != nil && right != nil:
		return c
	case left != nil:
		return left // a branch that no longer branches
	}
	return right
}

func lookupTrie(n *trieNode, a address) (p *peer) {
	for n != nil && n.prefix.common(a) >= n.length {
		if n.peer != nil {
			p = n.peer
		}
		if n.length >= 128 || n.child[0] == nil && n.child[1] == nil {
			return p
		}
		n = n.child[a.bit(n.length)]
	}
	return p
}
