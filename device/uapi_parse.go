package device

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"adit/wg"
)

// An opError is why an operation was refused. Nothing of it has happened.
type opError struct {
	errno int // positive
	err   error
}

func (e *opError) Error() string { return e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

func invalid(format string, a ...any) error {
	return &opError{errnoInvalid, fmt.Errorf(format, a...)}
}

// A parser collects the lines of one set operation. Errors never quote a key
// that is a secret.
type parser struct{ change }

// line takes one line without its end. After an error the operation is void.
// https://www.wireguard.com/xplatform/#configuration-protocol
func (p *parser) line(line string) error {
	key, value, ok := strings.Cut(line, "=")
	switch {
	case !ok:
		return &opError{errnoProtocol, fmt.Errorf("a line has no =")}
	case key == "public_key":
		k, err := parsePublicKey(value)
		if err != nil {
			return invalid("public_key: %w", err)
		}
		p.peers = append(p.peers, peerChange{publicKey: k})
		return nil
	case len(p.peers) == 0:
		return p.deviceLine(key, value)
	}
	return p.peers[len(p.peers)-1].line(key, value)
}

// deviceLine takes a line from before the first peer.
func (p *parser) deviceLine(key, value string) (err error) {
	switch key {
	case "private_key":
		p.privateKey = new(wg.PrivateKey)
		*p.privateKey, err = parsePrivateKey(value)
	case "listen_port":
		p.listenPort = new(uint16)
		*p.listenPort, err = parseUint16(value)
	case "fwmark":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		mark := uint32(n)
		p.fwMark = &mark
	case "replace_peers":
		p.replacePeers, err = parseTrue(value)
	default:
		return invalid("%.40q is no key of an interface", key)
	}
	if err != nil {
		return invalid("%s: %w", key, err)
	}
	return nil
}

// line takes a line about the peer.
func (p *peerChange) line(key, value string) (err error) {
	switch key {
	case "remove":
		p.remove, err = parseTrue(value)
	case "update_only":
		p.updateOnly, err = parseTrue(value)
	case "preshared_key":
		p.presharedKey = new(wg.PresharedKey)
		*p.presharedKey, err = parsePresharedKey(value)
	case "endpoint":
		p.endpoint = new(netip.AddrPort)
		*p.endpoint, err = parseEndpoint(value)
	case "persistent_keepalive_interval":
		p.keepalive = new(uint16)
		*p.keepalive, err = parseUint16(value)
	case "replace_allowed_ips":
		p.replaceAllowedIPs, err = parseTrue(value)
	case "allowed_ip":
		var a allowedIPChange
		a, err = parseAllowedIP(value)
		p.allowedIPs = append(p.allowedIPs, a)
	case "protocol_version":
		if value != "1" {
			err = fmt.Errorf("%.40q is not 1", value)
		}
	default:
		return invalid("%.40q is no key of a peer", key)
	}
	if err != nil {
		return invalid("%s: %w", key, err)
	}
	return nil
}

// parseTrue reads a flag, which can only be set.
func parseTrue(s string) (bool, error) {
	if s != "true" {
		return false, fmt.Errorf("%.40q is not true", s)
	}
	return true, nil
}

func parseUint16(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

func parseEndpoint(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%s has no port", a)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// parseAllowedIP reads a prefix, with a "-" before it if it is to be taken away.
// Bits beyond its length do not count; IPv4 may be written as IPv6.
func parseAllowedIP(s string) (a allowedIPChange, err error) {
	s, a.remove = strings.CutPrefix(s, "-")
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return a, err
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	a.prefix = p.Masked()
	return a, nil
}

// parseKey reads 64 hexadecimal digits. The error does not quote them.
func parseKey(s string) (k [wg.KeyLen]byte, err error) {
	if len(s) != 2*wg.KeyLen {
		return k, fmt.Errorf("it has %d characters, want %d hexadecimal digits", len(s), 2*wg.KeyLen)
	}
	if _, err := hex.Decode(k[:], []byte(s)); err != nil {
		return k, fmt.Errorf("want %d hexadecimal digits", 2*wg.KeyLen)
	}
	return k, nil
}

func parsePublicKey(s string) (wg.PublicKey, error) {
	k, err := parseKey(s)
	return wg.PublicKey(k), err
}

// parsePrivateKey returns the clamped key, as the kernel reports it. Zero is
// no key.
func parsePrivateKey(s string) (wg.PrivateKey, error) {
	k, err := parseKey(s)
	if err != nil || k == [wg.KeyLen]byte{} {
		return wg.PrivateKey{}, err
	}
	defer clear(k[:])
	return wg.ParsePrivateKey(base64.StdEncoding.EncodeToString(k[:]))
}

func parsePresharedKey(s string) (wg.PresharedKey, error) {
	k, err := parseKey(s)
	if err != nil {
		return wg.PresharedKey{}, err
	}
	defer clear(k[:])
	return wg.ParsePresharedKey(base64.StdEncoding.EncodeToString(k[:]))
}
