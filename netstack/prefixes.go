package netstack

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// prefixes is a set of IP prefixes that answers one question, whether it
// covers an address. It is kept as ranges that neither touch nor overlap, in
// order, so that ten thousand AllowedIPs cost a dozen comparisons and 0.0.0.0/0
// costs one. It does not change once made.
//
// Every packet asks it up to four times: addresses are kept as numbers, which
// compare three times as fast as netip.Addr.
type prefixes struct {
	v4, v6 []numbers
}

// A number is an address: of IPv4 in low, of IPv6 in both words.
type number struct{ high, low uint64 }

// numbers are all addresses from first to last, both included.
type numbers struct{ first, last number }

func toNumber(a netip.Addr) number {
	if a.Is4() {
		b := a.As4()
		return number{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (n number) less(m number) bool {
	return n.high < m.high || n.high == m.high && n.low < m.low
}

// next returns the number behind n; behind the last one comes zero.
func (n number) next() number {
	low, carry := bits.Add64(n.low, 1, 0)
	return number{n.high + carry, low}
}

// newPrefixes returns the set of all addresses that one of list covers.
// Prefixes that are not valid are left out.
func newPrefixes(list []netip.Prefix) prefixes {
	var set prefixes
	for _, p := range list {
		if !p.IsValid() {
			continue
		}
		p = p.Masked()
		r := numbers{toNumber(p.Addr()), toNumber(lastAddr(p))}
		if p.Addr().Is4() {
			set.v4 = append(set.v4, r)
		} else {
			set.v6 = append(set.v6, r)
		}
	}
	set.v4, set.v6 = merge(set.v4), merge(set.v6)
	return set
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

// merge puts ranges of one family in order and joins those that touch.
func merge(ranges []numbers) []numbers {
	slices.SortFunc(ranges, func(a, b numbers) int {
		switch {
		case a.first.less(b.first):
			return -1
		case b.first.less(a.first):
			return 1
		}
		return 0
	})
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && merged[n-1].adjoins(r) {
			if merged[n-1].last.less(r.last) {
				merged[n-1].last = r.last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// adjoins reports whether s, which does not begin before r, begins within r or
// right behind it.
func (r numbers) adjoins(s numbers) bool {
	return !r.last.less(s.first) || r.last.next() == s.first
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
func (set *prefixes) contains(addr netip.Addr) bool {
	ranges := set.v6
	if addr.Is4() {
		ranges = set.v4
	} else if !addr.IsValid() {
		return false
	}
	if len(ranges) == 0 {
		return false
	}
	n := toNumber(addr)
	// The first range that begins behind n; the one before it may cover n.
	low, high := 0, len(ranges)
	for low < high {
		middle := int(uint(low+high) / 2)
		if n.less(ranges[middle].first) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low > 0 && !ranges[low-1].last.less(n)
}

// has4 and has6 report whether the set covers anything of the family.
func (set *prefixes) has4() bool { return len(set.v4) > 0 }
func (set *prefixes) has6() bool { return len(set.v6) > 0 }
