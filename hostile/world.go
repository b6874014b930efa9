package hostile

import (
	"encoding/hex"
	"fmt"
	"net/netip"
)

// A World is what the attempts aim at. It goes to the process inside as JSON in
// its command line, so it holds no secret.
type World struct {
	Mode  string `json:"mode"`
	Token string `json:"token"` // 12 hexadecimal digits, new for each run: part of every canary

	Host4   netip.Addr `json:"host4"` // addresses of the host, with our listeners
	Host6   netip.Addr `json:"host6"`
	Port    uint16     `json:"port"`    // of the listeners, UDP and TCP
	Wild    uint16     `json:"wild"`    // of two more, which listen at every address
	Base    uint16     `json:"base"`    // attempt N uses port Base+N where nobody listens
	Link    int        `json:"link"`    // number of the host's interface that has Host4
	LinkMAC string     `json:"mac"`     // "" unknown
	Name    string     `json:"name"`    // the interface's name
	NetNS   uint64     `json:"netns"`   // the host's network namespace
	UserNS  uint64     `json:"userns"`  // the host's user namespace
	MountNS uint64     `json:"mountns"` // the host's mount namespace

	// Addresses of a laboratory beyond the host; invalid where there is none,
	// and then nothing is sent beyond it.
	Far4  netip.Addr `json:"far4"`
	Far6  netip.Addr `json:"far6"`
	Near4 netip.Addr `json:"near4"` // a neighbour on the host's link
	Near6 netip.Addr `json:"near6"`

	Nameserver netip.Addr `json:"nameserver"` // the host's; invalid if it has none to be asked
	Domain     string     `json:"domain"`     // what names to ask for end in
	ResolvConf string     `json:"resolvconf"` // the host's file, to know it again; "" if it may be seen

	Victim    Victim         `json:"victim"`
	Abstract  string         `json:"abstract"` // a listener of the host's, abstract unix socket
	Path      string         `json:"path"`     // another, in the file system
	Private   string         `json:"private"`  // one more, to which only its owner may connect
	Inherited map[string]int `json:"inherited"`
	Helper    string         `json:"helper"` // the C program; "" none
	Static    string         `json:"static"` // the same, linked statically

	// Of the process inside.
	Above []int  `json:"above"` // its ancestors outside, the nearest first
	Own   string `json:"own"`   // the tunnel's addresses, as ADIT_ADDRESS has them
	id    int
	Sent  int `json:"sent"` // canaries so far
}

// A Victim is a process of the same user outside, and what it has.
type Victim struct {
	PID      int     `json:"pid"`
	Socket   int     `json:"socket"`   // descriptor of a UDP socket
	Secret   string  `json:"secret"`   // what stands in its memory, to begin with
	Address  uintptr `json:"address"`  // where
	Path     string  `json:"path"`     // unix socket: gives its UDP socket to who connects
	Abstract string  `json:"abstract"` // the same, abstract
}

// canaryLen is the length of a canary.
const canaryLen = len("adit-") + tokenLen + len("-000-000")

const tokenLen = 12

// canary returns the next canary: the text by which the watch knows a packet.
// It may stand in a payload, and is a label of a name.
func (w *World) canary() string {
	w.Sent++
	return fmt.Sprintf("adit-%s-%03d-%03d", w.Token, w.id, w.Sent%1000)
}

// tail returns the eight bytes that do for a canary where there is room for no
// more: the lower half of an IPv6 address, the pattern of a ping.
func (w *World) tail() (b [8]byte) {
	hex.Decode(b[:6], []byte(w.Token))
	b[6], b[7] = byte(w.id>>8), byte(w.id)
	return b
}

// marked6 returns the address of prefix, eight bytes, that ends in the tail.
func (w *World) marked6(prefix [8]byte) netip.Addr {
	tail := w.tail()
	return netip.AddrFrom16([16]byte(append(prefix[:], tail[:]...)))
}

// group4 returns the group of the attempt: 239/8 is for sites (RFC 2365). Twelve
// bits of the token, twelve of the number.
func (w *World) group4() netip.Addr {
	tail := w.tail()
	return netip.AddrFrom4([4]byte{239, tail[0], tail[1]&0xf0 | tail[6], tail[7]})
}

// group6 returns the group of the attempt, of the scope of a site: ff15::/16,
// transient (RFC 4291 §2.7).
func (w *World) group6() netip.Addr { return w.marked6([8]byte{0xff, 0x15}) }

// question returns a name to ask for, which nobody has asked for before.
func (w *World) question() string { return w.canary() + "." + w.Domain + "." }

// lonely is the port of the attempt where nobody listens.
func (w *World) lonely() uint16 { return w.Base + uint16(w.id) }

// targets are where an attempt sends: the listener on the host, and a port of its
// own where nobody listens, in a laboratory at a far address.
func (w *World) targets(v6 bool) (list []netip.AddrPort) {
	host, far := w.Host4, w.Far4
	if v6 {
		host, far = w.Host6, w.Far6
	}
	if host.IsValid() {
		list = append(list, netip.AddrPortFrom(host, w.Port))
	}
	if !far.IsValid() {
		far = host
	}
	if far.IsValid() {
		list = append(list, netip.AddrPortFrom(far, w.lonely()))
	}
	return list
}

// loopback is the listener on the host's loopback.
func (w *World) loopback(v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(netip.IPv6Loopback(), w.Port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), w.Port)
}

// beyond is a neighbour of the host's or, where there is no laboratory, the host.
func (w *World) beyond(v6 bool) netip.Addr {
	near, host := w.Near4, w.Host4
	if v6 {
		near, host = w.Near6, w.Host6
	}
	if near.IsValid() {
		return near
	}
	return host
}
