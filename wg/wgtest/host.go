package wgtest

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Host is a place in a Sim where a Machine runs.
type Host struct {
	Name string

	sim     *Sim
	machine Machine
	addr    netip.AddrPort // its own; nobody outside sees it if nat is there
	nat     *NAT
	asleep  bool
	deaf    bool
}

// String returns the host's name.
func (h *Host) String() string { return h.Name }

// Addr returns the host's own address.
func (h *Host) Addr() netip.AddrPort { return h.addr }

// Move gives the host another address: what is on its way to the old one is
// lost. It panics if the address is taken.
func (h *Host) Move(addr netip.AddrPort) {
	s := h.sim
	if o := s.byAddr[addr]; o != nil && o != h {
		panic(fmt.Sprintf("BUG: %v is taken by %v", addr, o))
	}
	delete(s.byAddr, h.addr)
	h.addr = addr
	s.byAddr[addr] = h
}

// Behind puts the host behind n; nil: before everyone's eyes again.
func (h *Host) Behind(n *NAT) {
	h.nat = n
	if n != nil && !slices.Contains(h.sim.nats, n) {
		h.sim.nats = append(h.sim.nats, n)
	}
}

// NAT returns what the host is behind, nil if nothing.
func (h *Host) NAT() *NAT { return h.nat }

// Sleep suspends the host: it is not told the time, and what comes is lost.
func (h *Host) Sleep() { h.asleep = true }

// Wake ends Sleep. What the machine does about it is the caller's to say.
func (h *Host) Wake() { h.asleep = false }

// Asleep reports whether the host sleeps.
func (h *Host) Asleep() bool { return h.asleep }

// Deaf makes what comes to the host be lost, while deaf.
func (h *Host) Deaf(deaf bool) { h.deaf = deaf }

// Send sends data, which it copies. About says whom the machine means by it.
func (h *Host) Send(to netip.AddrPort, data []byte, tos uint8, about string) {
	d := &Datagram{From: h.addr, To: to, TOS: tos, Data: slices.Clone(data), About: about}
	if h.nat != nil {
		d.From = h.nat.outbound(h.sim.now, h, to)
	}
	h.sim.send(h, d)
}

// Inject sends a datagram that nobody is to blame for: from is what it says.
func (s *Sim) Inject(from, to netip.AddrPort, data []byte, tos uint8) {
	s.send(nil, &Datagram{From: from, To: to, TOS: tos, Data: slices.Clone(data)})
}

// Cut takes the cable between a and b away, until Heal.
func (s *Sim) Cut(a, b *Host) { s.cuts[[2]*Host{a, b}], s.cuts[[2]*Host{b, a}] = true, true }

// Heal puts all cables back, opens all ears and clears the sky: no loss, no
// doubles, no damage, no jitter. Delay stays.
func (s *Sim) Heal() {
	clear(s.cuts)
	for _, h := range s.hosts {
		h.deaf = false
	}
	s.Weather = Weather{Delay: s.Weather.Delay}
}

// At returns the host that a datagram to addr reaches, if it comes from from;
// nil if none.
func (s *Sim) At(addr, from netip.AddrPort) *Host {
	if h := s.byAddr[addr]; h != nil && h.nat == nil {
		return h
	}
	for _, n := range s.nats {
		if h := n.inbound(s.now, addr, from); h != nil {
			return h
		}
	}
	return nil
}

// arrive delivers d, which h sent; nil: it was injected.
func (s *Sim) arrive(h *Host, d *Datagram) {
	to := s.At(d.To, d.From)
	if to == nil || to.asleep || to.deaf || s.cuts[[2]*Host{h, to}] {
		return
	}
	s.note('<', d)
	got := *d
	got.To = to.addr
	to.machine.Receive(s.now, got)
}
