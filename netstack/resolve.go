package netstack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAliases is how many CNAMEs are followed from a name to its address.
const maxAliases = 16

// LookupNetIP returns the addresses of host, asked for through the tunnel. A
// name that does not exist, or has no address of the network's family, is a
// *net.DNSError with IsNotFound.
func (s *Stack) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return s.resolver.lookup(ctx, network, host)
}

// LookupNetIP is [Stack.LookupNetIP] with other servers, which are asked over
// connections that dial makes; without any a name fails at once. A name is looked
// for in the search domains as well.
func LookupNetIP(ctx context.Context, network, host string, servers []netip.AddrPort, search []string,
	dial func(ctx context.Context, network, address string) (net.Conn, error)) ([]netip.Addr, error) {
	r := resolver{nameserversOver(servers, dial), search}
	return r.lookup(ctx, network, host)
}

// A resolver finds the addresses of names.
type resolver struct {
	nameservers
	search []string // domains
}

// lookup is [Stack.LookupNetIP].
func (r *resolver) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var kinds []dnsmessage.Type
	switch network {
	case "ip":
		kinds = []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	case "ip4":
		kinds = []dnsmessage.Type{dnsmessage.TypeA}
	case "ip6":
		kinds = []dnsmessage.Type{dnsmessage.TypeAAAA}
	default:
		return nil, net.UnknownNetworkError(network)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	if isLocalhost(host) {
		return loopback(network), nil
	}
	for _, name := range r.candidates(host) {
		addrs, err := r.lookupName(ctx, name, kinds)
		if len(addrs) > 0 {
			return addrs, nil
		}
		if err != nil {
			return nil, lookupError(host, err)
		}
	}
	return nil, notFound(host)
}

// isLocalhost reports whether name is never asked of a server: RFC 6761 §6.3.
func isLocalhost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

func loopback(network string) []netip.Addr {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	switch network {
	case "ip4":
		return []netip.Addr{v4}
	case "ip6":
		return []netip.Addr{v6}
	}
	return []netip.Addr{v4, v6}
}

// candidates returns the names to ask for, as resolv.conf(5) says with ndots
// 1: a name with a dot first as it is, one without first in the search domains.
func (r *resolver) candidates(host string) []dnsmessage.Name {
	var texts []string
	switch {
	case strings.HasSuffix(host, "."):
		texts = []string{host}
	case strings.Contains(host, "."):
		texts = append([]string{host + "."}, r.inDomains(host)...)
	default:
		texts = append(r.inDomains(host), host+".")
	}
	var names []dnsmessage.Name
	for _, text := range texts {
		// A name with an empty label, or too long a one, does not exist.
		if name, err := dnsmessage.NewName(text); err == nil && isDomainName(text) {
			names = append(names, name)
		}
	}
	return names
}

func (r *resolver) inDomains(host string) []string {
	var out []string
	for _, domain := range r.search {
		if domain = strings.Trim(domain, "."); domain != "" {
			out = append(out, host+"."+domain+".")
		}
	}
	return out
}

// isDomainName reports whether the labels of name, which ends with a dot, are
// of one to 63 bytes (RFC 1035 §2.3.4).
func isDomainName(name string) bool {
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return false
		}
	}
	return true
}

// lookupName asks for all kinds of records at once. Without any address it
// returns the first error; nil if the servers say that there is none.
func (r *resolver) lookupName(ctx context.Context, name dnsmessage.Name, kinds []dnsmessage.Type) ([]netip.Addr, error) {
	type result struct {
		addrs []netip.Addr
		err   error
	}
	results := make([]chan result, len(kinds))
	for i, kind := range kinds {
		results[i] = make(chan result, 1)
		go func() {
			addrs, err := r.lookupKind(ctx, name, kind)
			results[i] <- result{addrs, err}
		}()
	}
	var addrs []netip.Addr
	var firstErr error
	for _, c := range results {
		got := <-c
		addrs = append(addrs, got.addrs...)
		if firstErr == nil {
			firstErr = got.err
		}
	}
	return addrs, firstErr
}

// lookupKind asks for one kind of address, and again for the target of an
// alias that a server did not follow itself.
func (r *resolver) lookupKind(ctx context.Context, name dnsmessage.Name, kind dnsmessage.Type) ([]netip.Addr, error) {
	for range maxAliases {
		q, err := newQuestion(uint16(rand.Uint32()), name, kind)
		if err != nil {
			return nil, err
		}
		msg, h, err := r.exchange(ctx, q, false, true)
		if err != nil {
			return nil, err
		}
		switch h.RCode {
		case dnsmessage.RCodeSuccess:
		case dnsmessage.RCodeNameError:
			return nil, nil
		default:
			return nil, fmt.Errorf("nameserver answers %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
		}
		addrs, target, err := readAnswer(msg, name, kind)
		if err != nil || len(addrs) > 0 || target.String() == name.String() {
			return addrs, err
		}
		name = target
	}
	return nil, errors.New("too many aliases")
}

// readAnswer returns the addresses that msg has for name, and the name that
// stands at the end of the aliases.
func readAnswer(msg []byte, name dnsmessage.Name, kind dnsmessage.Type) ([]netip.Addr, dnsmessage.Name, error) {
	var p dnsmessage.Parser
	if _, err := p.Start(msg); err != nil {
		return nil, name, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, name, err
	}
	records, err := p.AllAnswers()
	if err != nil {
		return nil, name, err
	}
	target := name
	for range maxAliases { // servers may give the records in any order
		next, ok := aliasOf(records, target)
		if !ok {
			break
		}
		target = next
	}
	var addrs []netip.Addr
	for _, r := range records {
		if r.Header.Type != kind || !sameName(r.Header.Name, target) {
			continue
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			addrs = append(addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			addrs = append(addrs, netip.AddrFrom16(body.AAAA).Unmap())
		}
	}
	return addrs, target, nil
}

func aliasOf(records []dnsmessage.Resource, name dnsmessage.Name) (dnsmessage.Name, bool) {
	for _, r := range records {
		if body, ok := r.Body.(*dnsmessage.CNAMEResource); ok && sameName(r.Header.Name, name) {
			return body.CNAME, true
		}
	}
	return name, false
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

func notFound(host string) error {
	return &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// lookupError wraps err as package net does.
func lookupError(host string, err error) error {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	text := err.Error()
	if timeout {
		text = "i/o timeout"
	}
	return &net.DNSError{UnwrapErr: err, Err: text, Name: host, IsTimeout: timeout, IsTemporary: true}
}
