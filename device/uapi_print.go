package device

import (
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
)

// appendReport appends the answer to a get operation to b, without the errno
// line that ends it.
func appendReport(b []byte, r *report) []byte {
	if !r.privateKey.IsZero() {
		b = appendSecret(b, "private_key", r.privateKey.Base64())
	}
	if r.listenPort != 0 {
		b = appendNumber(b, "listen_port", uint64(r.listenPort))
	}
	if r.fwMark != 0 {
		b = appendNumber(b, "fwmark", uint64(r.fwMark))
	}
	for i := range r.peers {
		b = appendPeer(b, &r.peers[i])
	}
	return b
}

func appendPeer(b []byte, p *peerReport) []byte {
	b = append(b, "public_key="...)
	b = append(hex.AppendEncode(b, p.publicKey[:]), '\n')
	b = appendSecret(b, "preshared_key", p.presharedKey.Base64())
	b = appendNumber(b, "protocol_version", 1)
	if p.endpoint.IsValid() {
		b = append(b, "endpoint="...)
		b = append(p.endpoint.AppendTo(b), '\n')
	}
	b = appendNumber(b, "last_handshake_time_sec", uint64(p.handshake/int64(time.Second)))
	b = appendNumber(b, "last_handshake_time_nsec", uint64(p.handshake%int64(time.Second)))
	b = appendNumber(b, "tx_bytes", p.tx)
	b = appendNumber(b, "rx_bytes", p.rx)
	b = appendNumber(b, "persistent_keepalive_interval", uint64(p.keepalive))
	for _, a := range p.allowedIPs {
		b = appendPrefix(b, a)
	}
	return b
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	b = append(b, "allowed_ip="...)
	return append(p.AppendTo(b), '\n')
}

func appendNumber(b []byte, key string, n uint64) []byte {
	b = append(append(b, key...), '=')
	return append(strconv.AppendUint(b, n, 10), '\n')
}

// appendSecret appends a key that the engine only gives away as base64.
func appendSecret(b []byte, key, base string) []byte {
	raw, err := base64.StdEncoding.DecodeString(base)
	if err != nil {
		panic("BUG: a key is not base64")
	}
	defer clear(raw)
	b = append(append(b, key...), '=')
	return append(hex.AppendEncode(b, raw), '\n')
}

// appendErrno appends what ends every answer. errno is positive or zero.
func appendErrno(b []byte, errno int) []byte {
	b = append(b, "errno="...)
	return append(strconv.AppendInt(b, int64(-errno), 10), "\n\n"...)
}
