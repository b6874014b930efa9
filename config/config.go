package config

import (
	"net/netip"
	"time"

	"adit/wg"
)

// A Config is one tunnel: a wg-quick file, and adit's own options of its
// #adit: lines. It is inert: nothing is resolved, opened or asked of the
// machine. Flags and the environment are laid over it by [Config.Set] and by
// assignment to Options.
type Config struct {
	Source     string // file name for messages
	PrivateKey wg.PrivateKey
	ListenPort uint16         // 0: any
	Addresses  []netip.Prefix // of the tunnel's end; host bits kept
	DNS        []netip.Addr   // the file's nameservers
	DNSSearch  []string       // the file's search domains
	MTU        int            // 0: from the path
	Peers      []Peer
	Options    Options
	Notes      []Note // what was ignored, merged or looks wrong, in order of lines
}

// A Peer is one [Peer] section; sections with the same key are merged.
type Peer struct {
	PublicKey    wg.PublicKey
	PresharedKey wg.PresharedKey // zero: none
	AllowedIPs   []netip.Prefix  // masked
	Endpoint     Endpoint        // zero: none, the peer calls us
	Keepalive    time.Duration   // PersistentKeepalive; 0: off
}

// An Endpoint is where a peer is reached: an address or a name, and a port.
type Endpoint struct {
	Host string // a name, or an address without brackets
	Port uint16
}

// DNSMode says where the command's names are asked.
type DNSMode int

const (
	DNSFile DNSMode = iota // Config.DNS, or the addresses of --dns, through the tunnel
	DNSHost                // the host's resolver, outside of the tunnel: --dns host
	DNSOff                 // nowhere: --dns off
)

// WaitKind says what must have happened before the command starts.
type WaitKind int

const (
	WaitHandshake WaitKind = iota
	WaitTCP                // a TCP connection to Wait.Addr was accepted
	WaitNone
)

// A Wait is the value of --wait.
type Wait struct {
	Kind WaitKind
	Addr string // host:port of WaitTCP
}

// Options are adit's own settings of a tunnel: those that a file may set in an
// #adit: line, and the flags of the same names.
type Options struct {
	Mode        string // "", "auto", "namespace", "seccomp", "preload"
	DNSMode     DNSMode
	Wait        Wait
	WaitTimeout time.Duration // 0: DefaultWaitTimeout
	IPv4Only    bool          // -4
	IPv6Only    bool          // -6
}

// DefaultWaitTimeout is how long the command waits for its tunnel.
const DefaultWaitTimeout = 15 * time.Second

// A Note is something that the user should know about a file although it can
// be used. With --strict the ones that are Ignored are errors.
type Note struct {
	Line    int    // 0: the whole file
	Key     string // as the file spells it
	Text    string // "is the host's business: ignored"
	Ignored bool   // the key has no effect here
	Quiet   bool   // said by check, not by run: expected in any wg-quick file
}
