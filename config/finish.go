package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"adit/wg"
)

// Finish is called once, after the last change and before a tunnel is made of
// c. It carries out IPv4Only and IPv6Only, checks that what is left makes a
// tunnel, and adds to Notes what only the whole can tell. The error is an
// *Error.
func (c *Config) Finish() error {
	bad := func(key, format string, a ...any) error {
		return &Error{File: c.Source, Key: key, Err: fmt.Errorf(format, a...)}
	}
	if c.Options.IPv4Only && c.Options.IPv6Only {
		return &Error{File: c.Source, Err: errors.New("-4 and -6 exclude each other")}
	}
	c.restrict()
	if len(c.Addresses) == 0 {
		switch {
		case c.Options.IPv4Only:
			return bad("Address", "none is left: -4 was asked for and there is no IPv4 address")
		case c.Options.IPv6Only:
			return bad("Address", "none is left: -6 was asked for and there is no IPv6 address")
		}
		return bad("", "[Interface] has no Address")
	}
	if c.MTU != 0 && c.MTU < minMTU6 && slices.ContainsFunc(c.Addresses, isPrefix6) {
		return bad("MTU", "%d is too small for IPv6, which needs %d: raise it, or use -4", c.MTU, minMTU6)
	}
	if err := c.samePeer(); err != nil {
		return err
	}
	c.settlePrefixes()
	c.noteWhole()
	return nil
}

// samePeer returns an error if two peers have one key: Parse merges those of a
// file, so this is what Set brought about.
func (c *Config) samePeer() error {
	seen := make(map[wg.PublicKey]bool)
	for _, p := range c.Peers {
		if seen[p.PublicKey] {
			return &Error{File: c.Source, Key: "PublicKey", Err: fmt.Errorf("two peers have %s…", p.PublicKey.Short())}
		}
		seen[p.PublicKey] = true
	}
	return nil
}

// settlePrefixes gives a prefix that several peers have to the last of them, as
// the kernel does; the others lose it here, so that nothing depends on the
// order in which an engine is told.
func (c *Config) settlePrefixes() {
	owner := make(map[netip.Prefix]int)
	for i, p := range c.Peers {
		for _, a := range p.AllowedIPs {
			owner[a] = i
		}
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		p.AllowedIPs = slices.DeleteFunc(p.AllowedIPs, func(a netip.Prefix) bool {
			j := owner[a]
			if j != i {
				c.Notes = append(c.Notes, Note{Key: "AllowedIPs", Text: fmt.Sprintf(
					"%s is in peer %d and in peer %d: the last one gets it", a, i+1, j+1)})
			}
			return j != i
		})
	}
}

// restrict drops what is of the other family.
func (c *Config) restrict() {
	other := func(a netip.Addr) bool {
		return a.Is4() && c.Options.IPv6Only || a.Is6() && c.Options.IPv4Only
	}
	otherPrefix := func(p netip.Prefix) bool { return other(p.Addr()) }
	c.Addresses = slices.DeleteFunc(c.Addresses, otherPrefix)
	c.DNS = slices.DeleteFunc(c.DNS, other)
	for i := range c.Peers {
		c.Peers[i].AllowedIPs = slices.DeleteFunc(c.Peers[i].AllowedIPs, otherPrefix)
	}
}

// noteWhole adds the notes that no single line gives rise to.
func (c *Config) noteWhole() {
	note := func(quiet bool, key, format string, a ...any) {
		c.Notes = append(c.Notes, Note{Key: key, Text: fmt.Sprintf(format, a...), Quiet: quiet})
	}
	if !slices.ContainsFunc(c.Peers, func(p Peer) bool { return len(p.AllowedIPs) > 0 }) {
		note(false, "AllowedIPs", "no peer has any: nothing can be reached")
	}
	if !slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.Endpoint != Endpoint{} }) {
		note(true, "Endpoint", "no peer has one: the tunnel waits to be called")
	}
	has4 := slices.ContainsFunc(c.Addresses, isPrefix4)
	has6 := slices.ContainsFunc(c.Addresses, isPrefix6)
	if !has4 && c.allows(isPrefix4) {
		note(true, "AllowedIPs", "has IPv4, but there is no IPv4 Address: not used")
	}
	if !has6 && c.allows(isPrefix6) {
		note(true, "AllowedIPs", "has IPv6, but there is no IPv6 Address: not used")
	}
	if c.Options.DNSMode != DNSFile {
		return
	}
	if len(c.DNS) == 0 {
		note(false, "DNS", "there is none: names will not resolve")
	}
	for _, a := range c.DNS {
		if a.IsLoopback() {
			note(false, "DNS", "%s is this end's own loopback, where nothing listens", a)
		} else if !c.Covers(a) {
			note(false, "DNS", "%s is outside of AllowedIPs: it will not answer", a)
		} else if a.Is4() && !has4 || a.Is6() && !has6 {
			note(false, "DNS", "%s cannot be asked without an Address of its family", a)
		}
	}
}

// Covers reports whether the tunnel leads to a: whether it is within some
// peer's AllowedIPs.
func (c *Config) Covers(a netip.Addr) bool {
	return c.allows(func(p netip.Prefix) bool { return p.Contains(a) })
}

func (c *Config) allows(f func(netip.Prefix) bool) bool {
	return slices.ContainsFunc(c.Peers, func(p Peer) bool { return slices.ContainsFunc(p.AllowedIPs, f) })
}

func isPrefix4(p netip.Prefix) bool { return p.Addr().Is4() }
func isPrefix6(p netip.Prefix) bool { return p.Addr().Is6() }

// Strict returns the first key that is ignored as an *Error, nil if there is
// none.
func (c *Config) Strict() error {
	for _, n := range c.Notes {
		if n.Ignored {
			text, _ := strings.CutSuffix(n.Text, ": ignored")
			text, _ = strings.CutSuffix(text, ": peer ignored")
			return &Error{File: c.Source, Line: n.Line, Key: n.Key, Err: errors.New(text + ": refused by --strict")}
		}
	}
	return nil
}
