package netstack

import (
	"net/netip"
	"slices"
	"sort"
)

// prefixes is a set of IP prefixes that answers one question, whether it
// covers an address. It is kept as ranges that neither touch nor overlap, in
// order, so that ten thousand AllowedIPs cost a dozen comparisons and 0.0.0.0/0
// costs one. It does not change once made.
type prefixes []addrRange

// An addrRange is all addresses from first to last, both included.
type addrRange struct{ first, last netip.Addr }

// newPrefixes returns the set of all addresses that one of list covers.
// Prefixes that are not valid are left out.
func newPrefixes(list []netip.Prefix) prefixes {
	var set prefixes
	for _, p := range list {
		if !p.IsValid() {
			continue
		}
		p = p.Masked()
		set = append(set, addrRange{p.Addr(), lastAddr(p)})
	}
	slices.SortFunc(set, func(a, b addrRange) int { return a.first.Compare(b.first) })
	merged := set[:0]
	for _, r := range set {
		if n := len(merged); n > 0 && merged[n-1].adjoins(r) {
			if merged[n-1].last.Less(r.last) {
				merged[n-1].last = r.last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// newHosts returns the set of the addresses themselves of list, without the
// networks that they are in.
func newHosts(list []netip.Prefix) prefixes {
	hosts := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		hosts = append(hosts, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	return newPrefixes(hosts)
}

// adjoins reports whether s, which does not begin before r, begins within r or
// right behind it.
func (r addrRange) adjoins(s addrRange) bool {
	if r.last.BitLen() != s.first.BitLen() {
		return false
	}
	return !r.last.Less(s.first) || r.last.Next() == s.first
}

// lastAddr returns the highest address of p, which is masked.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// contains reports whether the set covers addr. Addresses that differ in their
// family or, as ::ffff:1.2.3.4 and 1.2.3.4, only in their form, are different.
func (set prefixes) contains(addr netip.Addr) bool {
	if len(set) == 1 { // the common cases, without a closure
		return set[0].contains(addr)
	}
	i := sort.Search(len(set), func(i int) bool { return addr.Less(set[i].first) })
	return i > 0 && set[i-1].contains(addr)
}

func (r addrRange) contains(addr netip.Addr) bool {
	return addr.BitLen() == r.first.BitLen() && !addr.Less(r.first) && !r.last.Less(addr)
}

// has4 and has6 report whether the set covers anything of the family.
func (set prefixes) has4() bool {
	return slices.ContainsFunc(set, func(r addrRange) bool { return r.first.Is4() })
}

func (set prefixes) has6() bool {
	return slices.ContainsFunc(set, func(r addrRange) bool { return r.first.Is6() })
}
