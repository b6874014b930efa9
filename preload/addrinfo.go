package preload

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors and flags of getaddrinfo(3) and getnameinfo(3), which glibc and musl
// number alike.
const (
	eaiBadFlags   = -1
	eaiNoName     = -2
	eaiAgain      = -3
	eaiFail       = -4
	eaiFamily     = -6
	eaiSockType   = -7
	eaiService    = -8
	eaiAddrFamily = -9
	eaiIDNEncode  = -105

	aiPassive     = 0x1
	aiCanonName   = 0x2
	aiNumericHost = 0x4
	aiV4Mapped    = 0x8
	aiAll         = 0x10
	aiAddrConfig  = 0x20
	aiIDN         = 0x40
	aiCanonIDN    = 0x80
	aiNumericServ = 0x400
	aiKnown       = 0x7ff // with those of glibc's that mean nothing any more
)

// A hint is what getaddrinfo is asked for beside the names.
type hint struct{ flags, family, kind, protocol int32 }

func (h hint) has(flag int32) bool { return h.flags&flag != 0 }

func (h hint) wants4() bool { return h.family != unix.AF_INET6 || h.has(aiV4Mapped) }
func (h hint) wants6() bool { return h.family != unix.AF_INET }

// addrInfo is getaddrinfo(3), all of it: the shim only puts the results into the
// shape that the program expects.
func (s *Server) addrInfo(ctx context.Context, q question) answer {
	fail := func(code int32) answer { return answer{err: code} }
	node, rest, err := cutOptionalText(q.data)
	if err != nil {
		return fail(eaiFail)
	}
	service, _, err := cutOptionalText(rest)
	if err != nil {
		return fail(eaiFail)
	}
	h := hint{q.arg[0], q.arg[1], q.arg[2], q.arg[3]}
	switch {
	case node == nil && service == nil:
		return fail(eaiNoName)
	case h.flags&^aiKnown != 0, node == nil && h.has(aiCanonName):
		return fail(eaiBadFlags)
	case h.family != unix.AF_UNSPEC && h.family != unix.AF_INET && h.family != unix.AF_INET6:
		return fail(eaiFamily)
	}
	kinds, code := h.kinds(service)
	if code != 0 {
		return fail(code)
	}
	addrs, canonical, code := s.addresses(ctx, node, h)
	if code != 0 {
		return fail(code)
	}
	if !h.has(aiCanonName) {
		canonical = ""
	}
	a := answer{data: appendText(nil, canonical)}
	for _, addr := range addrs {
		for _, k := range kinds {
			if len(a.data)+addressLen > answerMax {
				return a
			}
			sa := sockaddrOf(addr, k.port)
			a.data = address{int32(binary.NativeEndian.Uint16(sa)), k.kind, k.protocol, sa}.append(a.data)
		}
	}
	return a
}

// A socketKind is a way to talk to an address.
type socketKind struct {
	kind, protocol int32
	name           string // in /etc/services; "" if services mean nothing to it
	asked          bool   // it has to be asked for
	port           uint16
}

var socketKinds = []socketKind{
	{kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP, name: "tcp"},
	{kind: unix.SOCK_DGRAM, protocol: unix.IPPROTO_UDP, name: "udp"},
	{kind: unix.SOCK_DCCP, protocol: unix.IPPROTO_DCCP, name: "dccp", asked: true},
	{kind: unix.SOCK_DGRAM, protocol: unix.IPPROTO_UDPLITE, name: "udplite", asked: true},
	{kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_SCTP, name: "sctp", asked: true},
	{kind: unix.SOCK_SEQPACKET, protocol: unix.IPPROTO_SCTP, name: "sctp", asked: true},
	{kind: unix.SOCK_RAW},
}

// kinds returns the kinds of sockets that fit, with the port of the service. A hint
// of any kind picks the first that fits it, as in glibc.
func (h hint) kinds(service *string) ([]socketKind, int32) {
	open := h.kind == 0 && h.protocol == 0
	var fit []socketKind
	for _, k := range socketKinds {
		if open && k.asked || h.kind != 0 && k.kind != h.kind {
			continue
		}
		if h.protocol != 0 && k.name == "" {
			k.protocol = h.protocol // any
		} else if h.protocol != 0 && k.protocol != h.protocol {
			continue
		}
		if fit = append(fit, k); !open {
			break
		}
	}
	switch {
	case len(fit) == 0 && h.kind != 0:
		return nil, eaiSockType
	case len(fit) == 0:
		return nil, eaiService
	case service == nil:
		return fit, 0
	case !open && fit[0].name == "":
		return nil, eaiService
	}
	if *service == "" {
		return fit, 0 // glibc reads the number 0
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(*service), 10, 64); err == nil {
		if n > 65535 {
			return nil, eaiService
		}
		for i := range fit {
			fit[i].port = uint16(n)
		}
		return fit, 0
	}
	if h.has(aiNumericServ) {
		return nil, eaiNoName
	}
	return named(fit, *service)
}

// named keeps the kinds that have the service.
func named(fit []socketKind, service string) (out []socketKind, code int32) {
	table := readServices()
	for _, k := range fit {
		if port, known := table.port(service, k.name); known && k.name != "" {
			k.port = port
			out = append(out, k)
		}
	}
	if len(out) == 0 {
		return nil, eaiService
	}
	return out, 0
}

// addresses returns those of a node, best first, and its canonical name.
func (s *Server) addresses(ctx context.Context, node *string, h hint) ([]netip.Addr, string, int32) {
	if node == nil {
		return unnamed(h), "", 0
	}
	if addr, ok := parseNumeric(*node); ok {
		switch {
		case addr.Is4() && h.family == unix.AF_INET6 && h.has(aiV4Mapped):
			addr = netip.AddrFrom16(addr.As16())
		case addr.Is4() && h.family == unix.AF_INET6, addr.Is6() && h.family == unix.AF_INET:
			return nil, "", eaiAddrFamily
		}
		return []netip.Addr{addr}, *node, 0
	}
	if h.has(aiNumericHost) {
		return nil, "", eaiNoName
	}
	if h.has(aiIDN|aiCanonIDN) && !isASCII(*node) {
		return nil, "", eaiIDNEncode
	}
	return s.named(ctx, *node, h)
}

// unnamed returns the addresses that stand for this machine: to listen at, or to
// talk to.
func unnamed(h hint) (out []netip.Addr) {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	list := []netip.Addr{v6, v4}
	if h.has(aiPassive) {
		list = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for _, a := range list {
		if h.family == unix.AF_UNSPEC || (h.family == unix.AF_INET) == a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

// named asks for the addresses of a name: /etc/hosts first, then ServerConfig.Lookup.
func (s *Server) named(ctx context.Context, name string, h hint) ([]netip.Addr, string, int32) {
	want4, want6 := h.wants4(), h.wants6()
	if h.has(aiAddrConfig) && len(s.cfg.Addresses) > 0 {
		want4, want6 = want4 && s.speaks(netip.Addr.Is4), want6 && s.speaks(netip.Addr.Is6)
	}
	if !want4 && !want6 {
		return nil, "", eaiNoName
	}
	addrs, canonical := readHosts().byName(name)
	addrs = ofFamilies(addrs, want4, want6)
	if len(addrs) == 0 {
		network := "ip"
		if !want4 {
			network = "ip6"
		} else if !want6 {
			network = "ip4"
		}
		list, err := s.cfg.Lookup(ctx, network, name)
		if err != nil {
			return nil, "", eaiOf(err)
		}
		addrs, canonical = ofFamilies(list, want4, want6), strings.TrimSuffix(name, ".")
	}
	s.sort(addrs)
	if h.family == unix.AF_INET6 {
		addrs = mapped(addrs, h.has(aiAll))
	}
	if len(addrs) == 0 {
		return nil, "", eaiNoName
	}
	return addrs, canonical, 0
}

// speaks reports whether the program has an address of a family.
func (s *Server) speaks(family func(netip.Addr) bool) bool {
	for _, a := range s.cfg.Addresses {
		if family(a.Unmap()) {
			return true
		}
	}
	return false
}

func ofFamilies(addrs []netip.Addr, want4, want6 bool) (out []netip.Addr) {
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() && want4 || a.Is6() && want6 {
			out = append(out, a)
		}
	}
	return out
}

// mapped makes IPv6 addresses of all: IPv4 ones are wanted where there are no
// others, or all are.
func mapped(addrs []netip.Addr, all bool) (out []netip.Addr) {
	for _, a := range addrs {
		if a.Is6() {
			out = append(out, a)
		}
	}
	if len(out) > 0 && !all {
		return out
	}
	for _, a := range addrs {
		if a.Is4() {
			out = append(out, netip.AddrFrom16(a.As16()))
		}
	}
	return out
}

// eaiOf is the error of a name that was asked for.
func eaiOf(err error) int32 {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return eaiNoName
	}
	return eaiAgain
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
