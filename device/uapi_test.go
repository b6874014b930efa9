package device

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"adit/wg"
)

// The keys of these tests: 01…01 and so on, as the protocol writes them.
var (
	hexA = strings.Repeat("01", 32)
	hexB = strings.Repeat("02", 32)
	keyA = wg.PublicKey(bytes.Repeat([]byte{1}, 32))
	keyB = wg.PublicKey(bytes.Repeat([]byte{2}, 32))
)

func ptr[T any](v T) *T { return &v }

func parse(lines ...string) (*change, error) {
	var p parser
	for _, l := range lines {
		if err := p.line(l); err != nil {
			return nil, err
		}
	}
	return &p.change, nil
}

func mustParse(t *testing.T, lines ...string) *change {
	t.Helper()
	c, err := parse(lines...)
	if err != nil {
		t.Fatalf("%q: %v", lines, err)
	}
	return c
}

// Each key of https://www.wireguard.com/xplatform/#configuration-protocol.
func TestEveryKeyOfTheProtocol(t *testing.T) {
	inPeer := func(f func(*peerChange)) change {
		p := peerChange{publicKey: keyA}
		f(&p)
		return change{peers: []peerChange{p}}
	}
	allow := func(remove bool, prefix string) change {
		return inPeer(func(p *peerChange) {
			p.allowedIPs = []allowedIPChange{{netip.MustParsePrefix(prefix), remove}}
		})
	}
	for line, want := range map[string]change{
		"listen_port=51820":                {listenPort: ptr(uint16(51820))},
		"listen_port=0":                    {listenPort: ptr(uint16(0))},
		"fwmark=4294967295":                {fwMark: ptr(uint32(4294967295))},
		"fwmark=0":                         {fwMark: ptr(uint32(0))},
		"replace_peers=true":               {replacePeers: true},
		"public_key=" + hexB:               {peers: []peerChange{{publicKey: keyB}}},
		"remove=true":                      inPeer(func(p *peerChange) { p.remove = true }),
		"update_only=true":                 inPeer(func(p *peerChange) { p.updateOnly = true }),
		"replace_allowed_ips=true":         inPeer(func(p *peerChange) { p.replaceAllowedIPs = true }),
		"protocol_version=1":               inPeer(func(*peerChange) {}),
		"persistent_keepalive_interval=0":  inPeer(func(p *peerChange) { p.keepalive = ptr(uint16(0)) }),
		"persistent_keepalive_interval=25": inPeer(func(p *peerChange) { p.keepalive = ptr(uint16(25)) }),
		"endpoint=192.0.2.1:51820": inPeer(func(p *peerChange) {
			p.endpoint = ptr(netip.MustParseAddrPort("192.0.2.1:51820"))
		}),
		"endpoint=[fe80::1%eth0]:1": inPeer(func(p *peerChange) {
			p.endpoint = ptr(netip.MustParseAddrPort("[fe80::1%eth0]:1"))
		}),
		"endpoint=[::ffff:192.0.2.1]:2": inPeer(func(p *peerChange) {
			p.endpoint = ptr(netip.MustParseAddrPort("192.0.2.1:2"))
		}),
		"allowed_ip=10.1.2.3/8":             allow(false, "10.0.0.0/8"),
		"allowed_ip=0.0.0.0/0":              allow(false, "0.0.0.0/0"),
		"allowed_ip=fd00::1/128":            allow(false, "fd00::1/128"),
		"allowed_ip=::/0":                   allow(false, "::/0"),
		"allowed_ip=-10.0.0.0/8":            allow(true, "10.0.0.0/8"),
		"allowed_ip=-fd00::/16":             allow(true, "fd00::/16"),
		"allowed_ip=::ffff:192.0.2.128/121": allow(false, "192.0.2.128/25"),
	} {
		lines := []string{line}
		if len(want.peers) == 1 && want.peers[0].publicKey == keyA {
			lines = []string{"public_key=" + hexA, line}
		}
		if got := mustParse(t, lines...); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, want %+v", line, *got, want)
		}
	}
}

func TestSecretKeysOfTheProtocol(t *testing.T) {
	k := wg.NewPrivateKey()
	c := mustParse(t, "private_key="+hexOf(k.Base64()), "public_key="+hexA, "preshared_key="+hexB)
	if !c.privateKey.Equal(k) {
		t.Error("the private key is another one")
	}
	if got := hexOf(c.peers[0].presharedKey.Base64()); got != hexB {
		t.Errorf("got preshared key %s, want %s", got, hexB)
	}
	zero := strings.Repeat("0", 64)
	c = mustParse(t, "private_key="+zero, "public_key="+hexA, "preshared_key="+zero)
	if !c.privateKey.IsZero() || !c.peers[0].presharedKey.IsZero() {
		t.Error("a key of zeros does not stand for none")
	}
	// The kernel reports the clamped key (noise.c, curve25519_clamp_secret).
	c = mustParse(t, "private_key="+strings.Repeat("ff", 32))
	if got, want := hexOf(c.privateKey.Base64()), "f8"+strings.Repeat("ff", 30)+"7f"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func hexOf(base string) string {
	b := appendSecret(nil, "k", base)
	return string(b[2 : len(b)-1])
}

// The numbers are those that wireguard-go answers.
func TestEveryErrorHasItsNumber(t *testing.T) {
	const eproto, einval = 71, 22
	peer := "public_key=" + hexA
	for _, tt := range []struct {
		errno int
		lines []string
	}{
		{eproto, []string{"listen_port"}},
		{eproto, []string{"get"}},
		{eproto, []string{peer, "remove"}},
		{einval, []string{"=true"}},
		{einval, []string{"colour=blue"}},
		{einval, []string{"endpoint=192.0.2.1:1"}},
		{einval, []string{"allowed_ip=10.0.0.0/8"}},
		{einval, []string{"protocol_version=1"}},
		{einval, []string{"private_key="}},
		{einval, []string{"private_key=" + hexA + "01"}},
		{einval, []string{"private_key=" + strings.Repeat("0g", 32)}},
		{einval, []string{"listen_port=65536"}},
		{einval, []string{"listen_port=-1"}},
		{einval, []string{"listen_port= 1"}},
		{einval, []string{"listen_port="}},
		{einval, []string{"fwmark=4294967296"}},
		{einval, []string{"fwmark=0x10"}},
		{einval, []string{"replace_peers=1"}},
		{einval, []string{"replace_peers=false"}},
		{einval, []string{"public_key=" + hexA[1:]}},
		{einval, []string{"public_key=" + keyA.String()}},
		{einval, []string{peer, "colour=blue"}},
		{einval, []string{peer, "listen_port=1"}},
		{einval, []string{peer, "private_key=" + hexA}},
		{einval, []string{peer, "replace_peers=true"}},
		{einval, []string{peer, "remove=false"}},
		{einval, []string{peer, "update_only=yes"}},
		{einval, []string{peer, "preshared_key=" + hexA[2:]}},
		{einval, []string{peer, "endpoint=example.com:51820"}},
		{einval, []string{peer, "endpoint=192.0.2.1"}},
		{einval, []string{peer, "endpoint=192.0.2.1:0"}},
		{einval, []string{peer, "endpoint=fd00::1:51820"}},
		{einval, []string{peer, "endpoint=192.0.2.1:65536"}},
		{einval, []string{peer, "persistent_keepalive_interval=65536"}},
		{einval, []string{peer, "persistent_keepalive_interval=off"}},
		{einval, []string{peer, "replace_allowed_ips=false"}},
		{einval, []string{peer, "allowed_ip=10.0.0.0"}},
		{einval, []string{peer, "allowed_ip=10.0.0.0/33"}},
		{einval, []string{peer, "allowed_ip=--10.0.0.0/8"}},
		{einval, []string{peer, "allowed_ip=fe80::1%eth0/64"}},
		{einval, []string{peer, "allowed_ip="}},
		{einval, []string{peer, "protocol_version=2"}},
	} {
		_, err := parse(tt.lines...)
		if got := errnoOf(err); got != tt.errno {
			t.Errorf("%q: got errno %d (%v), want %d", tt.lines, got, err, tt.errno)
		}
		if err != nil && (strings.Contains(err.Error(), hexA[2:]) || strings.Contains(err.Error(), "0g0g")) {
			t.Errorf("%q: the error quotes a key: %v", tt.lines, err)
		}
	}
	if got := errnoOf(errors.New("something else")); got != 5 {
		t.Errorf("an error without a number: got %d, want EIO", got)
	}
}

// appendChange writes a change as a client would.
func appendChange(b []byte, c *change) []byte {
	flag := func(key string, is bool) {
		if is {
			b = append(b, key+"=true\n"...)
		}
	}
	if c.privateKey != nil {
		b = appendSecret(b, "private_key", c.privateKey.Base64())
	}
	if c.listenPort != nil {
		b = appendNumber(b, "listen_port", uint64(*c.listenPort))
	}
	if c.fwMark != nil {
		b = appendNumber(b, "fwmark", uint64(*c.fwMark))
	}
	flag("replace_peers", c.replacePeers)
	for _, p := range c.peers {
		b = append(append(append(b, "public_key="...), hex.EncodeToString(p.publicKey[:])...), '\n')
		flag("remove", p.remove)
		flag("update_only", p.updateOnly)
		if p.presharedKey != nil {
			b = appendSecret(b, "preshared_key", p.presharedKey.Base64())
		}
		if p.endpoint != nil {
			b = append(append(b, "endpoint="...), p.endpoint.String()+"\n"...)
		}
		if p.keepalive != nil {
			b = appendNumber(b, "persistent_keepalive_interval", uint64(*p.keepalive))
		}
		flag("replace_allowed_ips", p.replaceAllowedIPs)
		for _, a := range p.allowedIPs {
			if a.remove {
				b = append(append(b, "allowed_ip=-"...), a.prefix.String()+"\n"...)
				continue
			}
			b = appendPrefix(b, a.prefix)
		}
	}
	return b
}

func FuzzWhatIsParsedIsPrintedAndParsedTheSame(f *testing.F) {
	f.Add("private_key=" + hexA + "\nlisten_port=1\nfwmark=2\nreplace_peers=true\npublic_key=" + hexB +
		"\nremove=true\nupdate_only=true\npreshared_key=" + hexA + "\nendpoint=[fe80::1%eth0]:1\n" +
		"persistent_keepalive_interval=3\nreplace_allowed_ips=true\nallowed_ip=10.0.0.1/8\nallowed_ip=-::/0\nprotocol_version=1")
	f.Add("public_key=" + hexA + "\npublic_key=" + hexA + "\nendpoint=[::ffff:1.2.3.4]:5\nallowed_ip=::ffff:1.2.3.4/100")
	f.Add("listen_port=00001\nfwmark=+1\n=\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(strings.Split(text, "\n")...)
		if err != nil {
			if n := errnoOf(err); n != errnoInvalid && n != errnoProtocol {
				t.Fatalf("errno %d: %v", n, err)
			}
			return
		}
		printed := appendChange(nil, c)
		again, err := parse(strings.Split(strings.TrimSuffix(string(printed), "\n"), "\n")...)
		if len(printed) == 0 {
			return
		}
		if err != nil {
			t.Fatalf("what was printed is not accepted: %v\n%s", err, printed)
		}
		if reprinted := appendChange(nil, again); !bytes.Equal(reprinted, printed) {
			t.Fatalf("printed\n%s\nthen\n%s", printed, reprinted)
		}
		newState().apply(c) // whatever it is
	})
}

// Every key that wireguard-go prints, in its order.
func TestReportOfEveryKey(t *testing.T) {
	psk, err := parsePresharedKey(hexB)
	if err != nil {
		t.Fatal(err)
	}
	private, err := parsePrivateKey(strings.Repeat("40", 32))
	if err != nil {
		t.Fatal(err)
	}
	r := report{privateKey: private, listenPort: 51820, fwMark: 51820, peers: []peerReport{
		{
			publicKey: keyA, presharedKey: psk, endpoint: netip.MustParseAddrPort("[fd00::1]:1"),
			handshake: 1700000000_000000005, tx: 1 << 40, rx: 7, keepalive: 25,
			allowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")},
		},
		{publicKey: keyB},
	}}
	want := "private_key=" + strings.Repeat("40", 32) + `
listen_port=51820
fwmark=51820
public_key=` + hexA + `
preshared_key=` + hexB + `
protocol_version=1
endpoint=[fd00::1]:1
last_handshake_time_sec=1700000000
last_handshake_time_nsec=5
tx_bytes=1099511627776
rx_bytes=7
persistent_keepalive_interval=25
allowed_ip=10.0.0.0/8
allowed_ip=::/0
public_key=` + hexB + `
preshared_key=` + strings.Repeat("0", 64) + `
protocol_version=1
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
persistent_keepalive_interval=0
`
	if got := string(appendReport(nil, &r)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := string(appendReport(nil, &report{})); got != "" {
		t.Errorf("a new interface: got %q, want nothing", got)
	}
	if got, want := string(appendErrno(nil, errnoInvalid)), "errno=-22\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
