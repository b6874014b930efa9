package wgtest

import (
	"net/netip"
	"slices"
	"time"
)

// A NAT rewrites the addresses of the hosts behind it. A host has one port on
// the outside, or one for each far end.
type NAT struct {
	Outside netip.Addr

	// Timeout is how long a mapping lives without a datagram going out. If
	// zero, for ever. The next one gets another port.
	Timeout time.Duration
	// PerFarEnd gives every far end a mapping of its own (RFC 4787 §4.1,
	// "Address and Port-Dependent Mapping").
	PerFarEnd bool
	// Open lets anyone in who knows the port. Otherwise only whom a datagram
	// was sent to (RFC 4787 §5, "Address and Port-Dependent Filtering").
	Open bool

	port uint16 // the last that was given away
	maps []mapping
}

type mapping struct {
	host    *Host
	far     netip.AddrPort // zero: whatever far end
	port    uint16
	used    time.Duration
	friends []netip.AddrPort // whom a datagram went to
}

// Rebind forgets all mappings: whoever sends next has another port, and what
// comes to the old ones is lost.
func (n *NAT) Rebind() { n.maps = nil }

// Mappings returns how many there are.
func (n *NAT) Mappings() int { return len(n.maps) }

func (n *NAT) alive(now time.Duration, m *mapping) bool {
	return n.Timeout == 0 || now-m.used < n.Timeout
}

// outbound returns what h's datagram to far says it is from.
func (n *NAT) outbound(now time.Duration, h *Host, far netip.AddrPort) netip.AddrPort {
	n.maps = slices.DeleteFunc(n.maps, func(m mapping) bool { return !n.alive(now, &m) })
	i := slices.IndexFunc(n.maps, func(m mapping) bool {
		return m.host == h && (!n.PerFarEnd || m.far == far)
	})
	if i < 0 {
		n.port = max(n.port+1, 1024)
		m := mapping{host: h, port: n.port}
		if n.PerFarEnd {
			m.far = far
		}
		n.maps = append(n.maps, m)
		i = len(n.maps) - 1
	}
	m := &n.maps[i]
	m.used = now
	if !slices.Contains(m.friends, far) {
		m.friends = append(m.friends, far)
	}
	return netip.AddrPortFrom(n.Outside, m.port)
}

// inbound returns whom a datagram to at is for, nil if it is for nobody.
func (n *NAT) inbound(now time.Duration, at, from netip.AddrPort) *Host {
	if at.Addr() != n.Outside {
		return nil
	}
	for i := range n.maps {
		m := &n.maps[i]
		if m.port == at.Port() && n.alive(now, m) && (n.Open || slices.Contains(m.friends, from)) {
			return m.host
		}
	}
	return nil
}
