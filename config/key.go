package config

import (
	"errors"
	"strings"

	"adit/wg"
)

// A section is where a key may stand.
type section string

const (
	noSection    section = ""
	inInterface  section = "[Interface]"
	inPeer       section = "[Peer]"
	eitherOfBoth section = "*"
)

// A keyword is one key of a wg-quick file.
type keyword struct {
	name    string
	section section
	secret  bool // never on a command line

	// set stores a value in c, or in p if the key is a peer's. What the key
	// may be given several times is added to.
	set func(c *Config, p *Peer, value string) error
	// reset forgets what was added; nil where set replaces.
	reset func(c *Config, p *Peer)

	// note is said, instead of calling set, of a key that has no effect here.
	note string
	// refuse is the error of a key that must not be taken for plain WireGuard.
	refuse string
}

const (
	hostsBusiness = "is the host's business: ignored"
	neverRun      = "commands of a config file are never run: ignored"
	notAmnezia    = "is a key of AmneziaWG, which adit does not speak: plain WireGuard would not reach this peer"
	notReserved   = "is not supported: without it this peer would not answer"
)

// keywords are all keys that are known, by lower-case name.
var keywords = makeKeywords()

func makeKeywords() map[string]keyword {
	all := append(interfaceKeywords(), peerKeywords()...)
	for _, name := range []string{"Table", "FwMark", "SaveConfig"} {
		all = append(all, keyword{name: name, section: inInterface, note: hostsBusiness})
	}
	for _, name := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		all = append(all, keyword{name: name, section: inInterface, note: neverRun})
	}
	for _, name := range []string{
		"Jc", "Jmin", "Jmax", "S1", "S2", "S3", "S4", "H1", "H2", "H3", "H4",
		"I1", "I2", "I3", "I4", "I5", "J1", "J2", "J3", "Itime",
	} {
		all = append(all, keyword{name: name, section: eitherOfBoth, refuse: notAmnezia})
	}
	all = append(all, keyword{name: "Reserved", section: eitherOfBoth, refuse: notReserved})

	m := make(map[string]keyword, len(all))
	for _, k := range all {
		m[strings.ToLower(k.name)] = k
	}
	return m
}

// closestKey returns the key of section s that name was meant to be, "" if that
// is not clear.
func closestKey(name string, s section) string {
	return Closest(name, func(yield func(string) bool) {
		for _, k := range keywords {
			if k.section == s && !yield(k.name) {
				return
			}
		}
	})
}

// didYouMean is what an error about a word that is not known says of name.
func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return " (did you mean " + name + "?)"
}

func interfaceKeywords() []keyword {
	return []keyword{
		{name: "PrivateKey", section: inInterface, secret: true, set: setPrivateKey},
		{
			name: "ListenPort", section: inInterface,
			set: func(c *Config, _ *Peer, v string) (err error) {
				c.ListenPort, err = parsePort(v)
				return err
			},
		},
		{
			name: "Address", section: inInterface,
			set: func(c *Config, _ *Peer, v string) error {
				all, err := ParsePrefixes(v)
				c.Addresses = appendNew(c.Addresses, all...)
				return err
			},
			reset: func(c *Config, _ *Peer) { c.Addresses = nil },
		},
		{
			name: "DNS", section: inInterface,
			set: func(c *Config, _ *Peer, v string) error {
				servers, search, err := parseNameservers(v)
				c.DNS = appendNew(c.DNS, servers...)
				c.DNSSearch = appendNew(c.DNSSearch, search...)
				return err
			},
			reset: func(c *Config, _ *Peer) { c.DNS, c.DNSSearch = nil, nil },
		},
		{
			name: "MTU", section: inInterface,
			set: func(c *Config, _ *Peer, v string) (err error) {
				if c.MTU = 0; v == "" { // wg-quick: as if it were not there
					return nil
				}
				c.MTU, err = ParseMTU(v)
				return err
			},
		},
	}
}

func peerKeywords() []keyword {
	return []keyword{
		{
			name: "PublicKey", section: inPeer,
			set: func(_ *Config, p *Peer, v string) (err error) {
				if p.PublicKey, err = wg.ParsePublicKey(v); err != nil {
					return err
				}
				switch { // the engine would take either and stay silent for ever
				case p.PublicKey.IsZero():
					return errors.New("is all zero: not a key")
				case p.PublicKey.IsLowOrder():
					return errors.New("is of low order: not a key, for everybody could read what is sent to it")
				}
				return nil
			},
		},
		{
			name: "PresharedKey", section: inPeer, secret: true,
			set: func(_ *Config, p *Peer, v string) (err error) {
				p.PresharedKey, err = wg.ParsePresharedKey(v)
				return err
			},
		},
		{
			name: "AllowedIPs", section: inPeer,
			set: func(_ *Config, p *Peer, v string) error {
				all, err := ParsePrefixes(v)
				for i := range all {
					all[i] = all[i].Masked()
				}
				p.AllowedIPs = appendNew(p.AllowedIPs, all...)
				return err
			},
			reset: func(_ *Config, p *Peer) { p.AllowedIPs = nil },
		},
		{
			name: "Endpoint", section: inPeer,
			set: func(_ *Config, p *Peer, v string) (err error) {
				p.Endpoint, err = parseEndpoint(v)
				return err
			},
		},
		{
			name: "PersistentKeepalive", section: inPeer,
			set: func(_ *Config, p *Peer, v string) (err error) {
				p.Keepalive, err = parseKeepalive(v)
				return err
			},
		},
	}
}

func setPrivateKey(c *Config, _ *Peer, v string) error {
	raw, err := wg.ParsePrivateKey(v)
	if err != nil {
		return err
	}
	// Clamping makes a key of anything; wg takes all zero for "no key".
	if isZeroKey(v) {
		return errors.New("is all zero: not a key")
	}
	c.PrivateKey = raw
	return nil
}

func isZeroKey(base64 string) bool { return strings.Trim(base64, "A=") == "" }
