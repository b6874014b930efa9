package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// fileDNS is a #adit: line about names: it takes the place of DNS=, wherever
// in the file it stands.
type fileDNS struct {
	servers []netip.Addr
	search  []string
}

func (d fileDNS) apply(c *Config) {
	if d.servers != nil {
		c.DNS = d.servers
	}
	if d.search != nil {
		c.DNSSearch = d.search
	}
}

// adit takes the rest of a #adit: line. Only what cannot widen what leaves the
// tunnel, nor write anything, may be set by a file.
func (p *parser) adit(s string) error {
	s, _, _ = strings.Cut(s, "#")
	name, value, ok := strings.Cut(s, "=")
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	if !ok || !isWord(name) {
		return errors.New("#adit: is not followed by KEY = VALUE")
	}
	if err := p.aditOption(name, value); err != nil {
		return &Error{Line: p.n, Key: aditMark + " " + name, Err: err}
	}
	return nil
}

func (p *parser) aditOption(name, value string) (err error) {
	o := &p.c.Options
	switch name {
	case "mode":
		o.Mode, err = ParseMode(value)
	case "mtu":
		p.aditMTU, err = ParseMTU(value)
	case "dns":
		// "host" is not for a file to say, and "off" would hide it if it were.
		var d fileDNS
		d.servers, err = parseAddrs(value)
		p.aditDNS = append(p.aditDNS, d)
	case "dns-search":
		var d fileDNS
		d.search, err = ParseSearch(value)
		p.aditDNS = append(p.aditDNS, d)
	case "wait":
		o.Wait, err = ParseWait(value)
	case "wait-timeout":
		o.WaitTimeout, err = ParseTimeout(value)
	case "4":
		o.IPv4Only, err = parseBool(value)
	case "6":
		o.IPv6Only, err = parseBool(value)
	default:
		return errors.New("is not an option that a file may set")
	}
	return err
}

// ParseMode returns the mode that s names, the value of --mode.
func ParseMode(s string) (string, error) {
	switch s {
	case "auto", "namespace", "seccomp", "preload":
		return s, nil
	}
	return "", fmt.Errorf("%s is not a mode: want auto, namespace, seccomp or preload", quote(s))
}

// ParseDNS returns what s, the value of --dns, says: addresses to ask through
// the tunnel, "host" or "off".
func ParseDNS(s string) (DNSMode, []netip.Addr, error) {
	switch s {
	case "host":
		return DNSHost, nil, nil
	case "off":
		return DNSOff, nil, nil
	}
	addrs, err := parseAddrs(s)
	if err != nil {
		return DNSFile, nil, fmt.Errorf("%w: want addresses, host or off", err)
	}
	return DNSFile, addrs, nil
}

func parseAddrs(s string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, f := range fields(s) {
		a, err := parseAddr(f)
		if err != nil {
			return nil, err
		}
		all = appendNew(all, a)
	}
	if all == nil {
		return nil, errors.New("there is no address")
	}
	return all, nil
}

// ParseSearch returns the search domains of s, the value of --dns-search.
func ParseSearch(s string) ([]string, error) {
	var all []string
	for _, f := range fields(s) {
		if !isHost(f) || looksLikeAddr(f) {
			return nil, fmt.Errorf("%s is not a search domain", quote(f))
		}
		all = appendNew(all, f)
	}
	if all == nil {
		return nil, errors.New("there is no search domain")
	}
	return all, nil
}

// ParseWait returns what s, the value of --wait, asks for.
func ParseWait(s string) (Wait, error) {
	switch s {
	case "handshake":
		return Wait{Kind: WaitHandshake}, nil
	case "none":
		return Wait{Kind: WaitNone}, nil
	}
	addr, ok := strings.CutPrefix(s, "tcp:")
	if !ok {
		return Wait{}, fmt.Errorf("%s is not something to wait for: want handshake, tcp:HOST:PORT or none", quote(s))
	}
	e, err := parseEndpoint(addr)
	if err != nil {
		return Wait{}, err
	}
	return Wait{Kind: WaitTCP, Addr: net.JoinHostPort(e.Host, fmt.Sprint(e.Port))}, nil
}

// ParseTimeout returns the time that s stands for, a number of seconds or a
// number with a unit: 15, 15s, 2m, 500ms. It is more than zero.
func ParseTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		n, err := parseUint(s, 1<<31-1)
		if err != nil {
			return 0, fmt.Errorf("%s is not a time: want 15s, 2m or 500ms", quote(s))
		}
		d = time.Duration(n) * time.Second
	}
	if d <= 0 {
		return 0, fmt.Errorf("%s is not more than zero", quote(s))
	}
	return d, nil
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither yes nor no", quote(s))
}

// String returns the value of --dns that stands for m.
func (m DNSMode) String() string {
	switch m {
	case DNSHost:
		return "host"
	case DNSOff:
		return "off"
	}
	return "file"
}

// String returns the value of --wait that stands for w.
func (w Wait) String() string {
	switch w.Kind {
	case WaitTCP:
		return "tcp:" + w.Addr
	case WaitNone:
		return "none"
	}
	return "handshake"
}
