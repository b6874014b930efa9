package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	// minMTU is what every IPv4 host must take, RFC 791 §3.1. With IPv6 inside
	// the least is minMTU6, RFC 8200 §5.
	minMTU  = 576
	minMTU6 = 1280
	// maxMTU leaves room in an IP packet for the outer headers: IPv6 (40),
	// UDP (8), and WireGuard's header and tag (32).
	maxMTU = 65535 - 80
)

// fields splits a list at commas and white space, as wg-quick does.
func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// parsePrefix returns the prefix of s; an address alone is a prefix of its full
// length. Host bits are kept.
func parsePrefix(s string) (netip.Prefix, error) {
	host, bits, slash := strings.Cut(s, "/")
	addr, err := parseAddr(host)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is not a prefix: %w", quote(s), err)
	}
	if !slash {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	n, err := parseUint(bits, math.MaxInt32)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is not a prefix: its length is not a number", quote(s))
	}
	if n > addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%s is not a prefix: length is over %d", quote(s), addr.BitLen())
	}
	return netip.PrefixFrom(addr, n), nil
}

// ParsePrefixes returns the prefixes of a list with commas, as of AllowedIPs:
// an address alone is a prefix of its full length. Host bits are kept.
func ParsePrefixes(s string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, f := range fields(s) {
		p, err := parsePrefix(f)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// parseAddr is netip.ParseAddr without zones and IPv4-mapped IPv6 addresses,
// which mean nothing inside of a tunnel.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%s is not an address", quote(s))
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%s has a zone", quote(s))
	case a.Is4In6():
		return netip.Addr{}, fmt.Errorf("%s is an IPv4-mapped address: write %s", quote(s), a.Unmap())
	}
	return a, nil
}

// parseEndpoint returns the host and port of s. An IPv6 address is in brackets
// and may have a zone.
func parseEndpoint(s string) (Endpoint, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Endpoint{}, fmt.Errorf("%s has no port: want HOST:PORT", quote(s))
	}
	host := s[:i]
	port, err := parseUint(s[i+1:], 65535)
	if err != nil || port == 0 {
		return Endpoint{}, fmt.Errorf("%s: port is not a number from 1 to 65535", quote(s))
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if !ok || err != nil || !a.Is6() {
			return Endpoint{}, fmt.Errorf("%s: what stands in brackets is not an IPv6 address", quote(s))
		}
		return Endpoint{Host: a.String(), Port: uint16(port)}, nil
	}
	if strings.Contains(host, ":") && strings.Trim(host, "0123456789abcdefABCDEF:.") == "" {
		return Endpoint{}, fmt.Errorf("%s: an IPv6 address needs brackets: [ADDRESS]:PORT", quote(s))
	}
	if !isHost(host) {
		return Endpoint{}, fmt.Errorf("%s: %s is neither an address nor a host name", quote(s), quote(host))
	}
	return Endpoint{Host: host, Port: uint16(port)}, nil
}

// isHost reports whether s can be asked of a resolver: labels of letters,
// digits, hyphens and (seen in the wild) underscores, RFC 1123 §2.1.
func isHost(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			if !isAlnum(label[i]) && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return !looksLikeAddr(s) || isAddr(s)
}

// looksLikeAddr reports whether s has nothing but digits and dots: 10.0.0.256
// is a mistyped address, not a name to ask a resolver for.
func looksLikeAddr(s string) bool { return strings.Trim(s, "0123456789.") == "" }

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// parseKeepalive returns the interval that s is the seconds of; "off" is 0.
func parseKeepalive(s string) (time.Duration, error) {
	if strings.EqualFold(s, "off") {
		return 0, nil
	}
	n, err := parseUint(s, 65535)
	if err != nil {
		return 0, fmt.Errorf("%s is neither off nor a number of seconds from 0 to 65535", quote(s))
	}
	return time.Duration(n) * time.Second, nil
}

func parsePort(s string) (uint16, error) {
	n, err := parseUint(s, 65535)
	if err != nil {
		return 0, fmt.Errorf("%s is not a port: want a number from 0 to 65535", quote(s))
	}
	return uint16(n), nil
}

// ParseMTU returns the size in bytes that s stands for: the value of MTU=, of
// --mtu and of #adit: mtu.
func ParseMTU(s string) (int, error) {
	n, err := parseUint(s, maxMTU)
	if err != nil || n < minMTU {
		return 0, fmt.Errorf("%s is not an MTU: want a number from %d to %d", quote(s), minMTU, maxMTU)
	}
	return n, nil
}

// parseNameservers splits the value of DNS= into addresses and, as wg-quick
// does with all other words, search domains.
func parseNameservers(s string) (servers []netip.Addr, search []string, err error) {
	for _, f := range fields(s) {
		if a, err := parseAddr(f); err == nil {
			servers = append(servers, a)
			continue
		}
		if strings.Contains(f, ":") || looksLikeAddr(f) {
			_, err := parseAddr(f)
			return nil, nil, err
		}
		if !isHost(f) {
			return nil, nil, fmt.Errorf("%s is neither an address nor a search domain", quote(f))
		}
		search = append(search, f)
	}
	return servers, search, nil
}

// parseUint accepts decimal digits only, no sign and no underscore.
func parseUint(s string, max int) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > uint64(max) {
		return 0, errors.New("out of range")
	}
	return int(n), nil
}

// appendNew appends to list those of add that it does not hold.
func appendNew[T comparable](list []T, add ...T) []T {
	seen := make(map[T]bool, len(list)+len(add))
	for _, v := range list {
		seen[v] = true
	}
	for _, v := range add {
		if !seen[v] {
			seen[v] = true
			list = append(list, v)
		}
	}
	return list
}
