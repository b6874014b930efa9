package device

import (
	"net/netip"

	"adit/wg"
)

// Error numbers of the protocol that the whole text goes by. They are sent
// negative: "errno=-22". An error of a system call keeps its own number.
const (
	errnoIO       = 5  // EIO: a line or an operation without an end
	errnoInvalid  = 22 // EINVAL: an unknown key, a value that is none
	errnoProtocol = 71 // EPROTO: no KEY=VALUE, no operation, a cut off operation
)

// A change is one set operation. A nil pointer leaves what is there.
type change struct {
	privateKey   *wg.PrivateKey // zero: none from now on
	listenPort   *uint16        // 0: any
	fwMark       *uint32        // 0: none
	replacePeers bool           // all peers go before those below come
	peers        []peerChange   // in the order in which they were written
}

// A peerChange is what a set operation says about one peer.
type peerChange struct {
	publicKey         wg.PublicKey
	remove            bool
	updateOnly        bool // not if the peer is not there
	presharedKey      *wg.PresharedKey
	endpoint          *netip.AddrPort
	keepalive         *uint16 // seconds; 0: off
	replaceAllowedIPs bool    // all go before those below come
	allowedIPs        []allowedIPChange
}

// An allowedIPChange moves a prefix to the peer or takes it away from it.
type allowedIPChange struct {
	prefix netip.Prefix // masked
	remove bool         // only if it is this peer's
}

// A report is the answer to a get operation.
type report struct {
	privateKey wg.PrivateKey
	listenPort uint16
	fwMark     uint32
	peers      []peerReport // in the order in which they came
}

type peerReport struct {
	publicKey    wg.PublicKey
	presharedKey wg.PresharedKey
	endpoint     netip.AddrPort // where the peer is now; zero: nobody knows
	handshake    int64          // nanoseconds since 1970; 0: never
	tx, rx       uint64         // bytes
	keepalive    uint16         // seconds
	allowedIPs   []netip.Prefix
}
