package wg

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"adit/wg/wgtest"
)

// slowIPs is the reference: a list, searched from end to end.
type slowIPs []slowEntry

type slowEntry struct {
	prefix netip.Prefix
	peer   *peer
}

func (s *slowIPs) insert(p netip.Prefix, to *peer) {
	p = p.Masked()
	for i := range *s {
		if (*s)[i].prefix == p {
			(*s)[i].peer = to
			return
		}
	}
	*s = append(*s, slowEntry{p, to})
}

func (s slowIPs) lookup(a netip.Addr) (found *peer) {
	best := -1
	for _, e := range s {
		if e.prefix.Contains(a) && e.prefix.Bits() > best {
			best, found = e.prefix.Bits(), e.peer
		}
	}
	return found
}

func (t *allowedIPs) lookup(a netip.Addr) *peer {
	if a.Is4() {
		return lookupTrie(t.v4, makeAddress(a))
	}
	return lookupTrie(t.v6, makeAddress(a))
}

// randomAddr has few different bits, so that prefixes nest.
func randomAddr(rng *rand.Rand) netip.Addr {
	if rng.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(rng.IntN(4)), byte(rng.IntN(4) << 6), byte(rng.IntN(256))})
	}
	b := [16]byte{0xfd, 15: byte(rng.IntN(256))}
	b[7], b[8] = byte(rng.IntN(4)), byte(rng.IntN(4)<<6)
	return netip.AddrFrom16(b)
}

// §2; Linux, selftest/allowedips.c: the trie agrees with a slow list.
func TestAllowedIPsAgreeWithALinearSearch(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var fast allowedIPs
		var slow slowIPs
		peers := make([]*peer, 8)
		for i := range peers {
			peers[i] = new(peer)
		}
		for range 200 {
			a := randomAddr(rng)
			p := netip.PrefixFrom(a, rng.IntN(a.BitLen()+1))
			to := peers[rng.IntN(len(peers))]
			fast.insert(p, to)
			slow.insert(p, to)
			for range 50 {
				a := randomAddr(rng)
				if got, want := fast.lookup(a), slow.lookup(a); got != want {
					t.Fatalf("seed %d: %v goes to %p, want %p", seed, a, got, want)
				}
			}
		}
	}
}

func TestTheLongestPrefixWins(t *testing.T) {
	a, b, c := &peer{}, &peer{}, &peer{}
	var r allowedIPs
	r.insert(netip.MustParsePrefix("0.0.0.0/0"), a)
	r.insert(netip.MustParsePrefix("10.0.0.0/8"), b)
	r.insert(netip.MustParsePrefix("10.1.2.3/32"), c)
	r.insert(netip.MustParsePrefix("::/0"), c)
	for addr, want := range map[string]*peer{
		"9.255.255.255": a, "10.0.0.0": b, "10.1.2.2": b, "10.1.2.3": c, "11.0.0.0": a, "fe80::1": c,
	} {
		if got := r.lookup(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s goes to the wrong peer", addr)
		}
	}
	r.insert(netip.MustParsePrefix("10.0.0.0/8"), c) // stolen
	if r.lookup(netip.MustParseAddr("10.0.0.1")) != c {
		t.Error("the later peer does not have the prefix")
	}
}

func BenchmarkAllowedIPs(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	var r allowedIPs
	for range 10000 {
		r.insert(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))}), 32), &peer{})
	}
	a := makeAddress(netip.MustParseAddr("10.77.5.9"))
	for b.Loop() {
		lookupTrie(r.v4, a)
	}
}

// §2: what one packet of a run may, the next may not for that. The addresses of
// the two families have the same bits.
func TestEachSourceOfARunIsJudgedByItself(t *testing.T) {
	mine, other := &peer{}, &peer{}
	var r allowedIPs
	r.insert(netip.MustParsePrefix("10.0.0.1/32"), mine)
	r.insert(netip.MustParsePrefix("10.0.0.2/32"), other)
	r.insert(netip.MustParsePrefix("a00:2::/64"), mine)
	in := run{peer: mine}
	for _, c := range []struct {
		from string
		want bool
	}{
		{"10.0.0.2", false}, {"10.0.0.1", true}, {"10.0.0.1", true}, {"10.0.0.2", false}, {"10.0.0.3", false},
		{"10.0.0.1", true}, {"a00:1::", false}, {"a00:2::", true}, {"a00:2::", true}, {"10.0.0.2", false}, {"a00:2::1", true},
	} {
		from := netip.MustParseAddr(c.from)
		pkt := wgtest.UDP(netip.AddrPortFrom(from, 1), netip.AddrPortFrom(from, 2), 60, nil)
		if got := in.speaksFor(&r, pkt); got != c.want {
			t.Errorf("%s: got %v, want %v", c.from, got, c.want)
		}
	}
}
