package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/wg"
)

// Keys of these tests. They open nothing.
const (
	privateKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	peerKey1   = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
	peerKey2   = "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA="
	preshared  = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="
)

const wholeFile = `# a comment
[Interface]
PrivateKey = ` + privateKey + ` # another
ListenPort = 51820
Address = 10.0.0.2/24, fd00::2
address=10.1.0.2
DNS = 10.0.0.1, fd00::1, corp.example
MTU = 1380

[Peer]
PublicKey = ` + peerKey1 + `
PresharedKey = ` + preshared + `
AllowedIPs = 10.0.0.0/8, fd00::/8
AllowedIPs = 192.0.2.7
Endpoint = vpn.example.com:51820
PersistentKeepalive = 25

[PEER]
publickey=` + peerKey2 + `
allowedips=0.0.0.0/0,::/0
endpoint=[2001:db8::1]:443
persistentkeepalive=off
`

// minimal is the smallest file that can be used; lines are added to either of
// its sections.
func minimal(iface, peer string) string {
	return "[Interface]\nPrivateKey = " + privateKey + "\nAddress = 10.0.0.2\n" + iface +
		"\n[Peer]\nPublicKey = " + peerKey1 + "\n" + peer + "\n"
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("wg0.conf", strings.NewReader(text))
	if err != nil {
		t.Fatalf("got error %v, want none, for:\n%s", err, text)
	}
	return c
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestEveryKeyIsRead(t *testing.T) {
	c := mustParse(t, wholeFile)
	psk, _ := wg.ParsePresharedKey(preshared)
	key1, _ := wg.ParsePublicKey(peerKey1)
	key2, _ := wg.ParsePublicKey(peerKey2)

	if got := c.PrivateKey.Base64(); got[1:42] != privateKey[1:42] {
		t.Error("the private key is another one")
	}
	if c.ListenPort != 51820 || c.MTU != 1380 {
		t.Errorf("got port %d and MTU %d, want 51820 and 1380", c.ListenPort, c.MTU)
	}
	if want := prefixes("10.0.0.2/24", "fd00::2/128", "10.1.0.2/32"); !slices.Equal(c.Addresses, want) {
		t.Errorf("got addresses %v, want %v", c.Addresses, want)
	}
	if want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}; !slices.Equal(c.DNS, want) {
		t.Errorf("got DNS %v, want %v", c.DNS, want)
	}
	if want := []string{"corp.example"}; !slices.Equal(c.DNSSearch, want) {
		t.Errorf("got search %v, want %v", c.DNSSearch, want)
	}
	want := []Peer{
		{
			PublicKey: key1, PresharedKey: psk,
			AllowedIPs: prefixes("10.0.0.0/8", "fd00::/8", "192.0.2.7/32"),
			Endpoint:   Endpoint{"vpn.example.com", 51820},
			Keepalive:  25 * time.Second,
		},
		{
			PublicKey:  key2,
			AllowedIPs: prefixes("0.0.0.0/0", "::/0"),
			Endpoint:   Endpoint{"2001:db8::1", 443},
		},
	}
	if !reflect.DeepEqual(c.Peers, want) {
		t.Errorf("got peers\n%+v, want\n%+v", c.Peers, want)
	}
	if len(c.Notes) > 0 {
		t.Errorf("got notes %v, want none", c.Notes)
	}
}

func TestLineEndsAndByteOrderMarkDoNotMatter(t *testing.T) {
	want := mustParse(t, wholeFile)
	for name, text := range map[string]string{
		"CRLF":              strings.ReplaceAll(wholeFile, "\n", "\r\n"),
		"byte order mark":   "\xef\xbb\xbf" + wholeFile,
		"no last line end":  strings.TrimSpace(wholeFile),
		"indented":          strings.ReplaceAll(wholeFile, "\n", "\n\t "),
		"spaces for commas": strings.ReplaceAll(wholeFile, ", ", " "),
	} {
		if got := mustParse(t, text); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", name, got, want)
		}
	}
}

// Each row is a bad file and its whole message.
var badFiles = []struct{ name, text, want string }{
	{"empty file", "", `wg0.conf: is empty`},
	{"blank file", " \n\t\r\n", `wg0.conf: is empty`},
	{"only a byte order mark", "\xef\xbb\xbf", `wg0.conf: is empty`},
	{"a file of 10 MB", strings.Repeat("#\n", 5<<20), `wg0.conf: is larger than 1 MiB: not a wg-quick file`},
	{"binary junk", "\x7fELF\x02\x01\x01\x00\x00", `wg0.conf: is not text: not a wg-quick file`},
	{"Latin-1", "# caf\xe9\n" + minimal("", ""), `wg0.conf: is not text: not a wg-quick file`},
	{"UTF-16", "\xff\xfe[\x00I\x00", `wg0.conf: is UTF-16: save it as UTF-8`},
	{"no Interface", "[Peer]\nPublicKey = " + peerKey1, `wg0.conf: there is no [Interface] section`},
	{"no Peer", "[Interface]\nPrivateKey = " + privateKey + "\nAddress = 10.0.0.2", `wg0.conf: there is no [Peer] section`},
	{"no PrivateKey", "[Interface]\nAddress = 10.0.0.2\n[Peer]\nPublicKey = " + peerKey1, `wg0.conf: [Interface] has no PrivateKey`},
	{"no Address", "[Interface]\nPrivateKey = " + privateKey + "\n[Peer]\nPublicKey = " + peerKey1, `wg0.conf: [Interface] has no Address`},
	{"no PublicKey", "[Interface]\nPrivateKey = " + privateKey + "\nAddress = 10.0.0.2\n[Peer]\nAllowedIPs = ::/0", `wg0.conf:4: [Peer] has no PublicKey`},
	{"only ourselves", "[Interface]\nPrivateKey = " + privateKey + "\nAddress = 10.0.0.2\n[Peer]\nPublicKey = " + publicOf(privateKey), `wg0.conf: there is no [Peer] but this end itself`},
	{"key before a section", "MTU = 1280\n", `wg0.conf:1: MTU: stands before [Interface]`},
	{"unknown section", "[Interface]\n[Proxy]\n", `wg0.conf:2: "[Proxy]" is neither [Interface] nor [Peer]`},
	{"no equals sign", minimal("MTU 1280", ""), `wg0.conf:4: is not KEY = VALUE`},
	{"a secret alone on a line", minimal(privateKey, ""), `wg0.conf:4: is not KEY = VALUE`},
	{"wrong section", minimal("Endpoint = 192.0.2.1:1", ""), `wg0.conf:4: Endpoint: belongs in [Peer], not in [Interface]`},
	{"the other wrong section", minimal("", "DNS = 10.0.0.1"), `wg0.conf:7: DNS: belongs in [Interface], not in [Peer]`},

	{"short key", minimal("PrivateKey = "+privateKey[1:], ""), `wg0.conf:4: PrivateKey: not a key: want 44 characters of base64 that stand for 32 bytes: it has 43 characters`},
	{"long key", minimal("", "PresharedKey = A"+preshared), `wg0.conf:7: PresharedKey: not a key: want 44 characters of base64 that stand for 32 bytes: it has 45 characters`},
	{"key of other characters", minimal("", "PublicKey = !"+peerKey1[1:]), `wg0.conf:7: PublicKey: not a key: want 44 characters of base64 that stand for 32 bytes`},
	{"no key", minimal("PrivateKey =", ""), `wg0.conf:4: PrivateKey: not a key: want 44 characters of base64 that stand for 32 bytes: it has 0 characters`},
	{"zero key", minimal("PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", ""), `wg0.conf:4: PrivateKey: is all zero: not a key`},
	{"low-order public key", minimal("", "PublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), `wg0.conf:7: PublicKey: is of low order: not a key, for everybody could read what is sent to it`},
	{"low-order public key of order eight", minimal("", "PublicKey = X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc="), `wg0.conf:7: PublicKey: is of low order: not a key, for everybody could read what is sent to it`},
	{"zero public key", minimal("", "PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), `wg0.conf:7: PublicKey: is all zero: not a key`},
	{"a secret as prefix", minimal("", "AllowedIPs = "+privateKey), `wg0.conf:7: AllowedIPs: (hidden) is not a prefix: (hidden) is not an address`},

	{"length over 32", minimal("", "AllowedIPs = 10.0.0.0/33"), `wg0.conf:7: AllowedIPs: "10.0.0.0/33" is not a prefix: length is over 32`},
	{"length over 128", minimal("Address = fd00::/129", ""), `wg0.conf:4: Address: "fd00::/129" is not a prefix: length is over 128`},
	{"length is no number", minimal("", "AllowedIPs = 10.0.0.0/+8"), `wg0.conf:7: AllowedIPs: "10.0.0.0/+8" is not a prefix: its length is not a number`},
	{"no address", minimal("", "AllowedIPs = ::/0, example.com"), `wg0.conf:7: AllowedIPs: "example.com" is not a prefix: "example.com" is not an address`},
	{"zone", minimal("Address = fe80::1%eth0", ""), `wg0.conf:4: Address: "fe80::1%eth0" is not a prefix: "fe80::1%eth0" has a zone`},
	{"mapped address", minimal("Address = ::ffff:10.0.0.1", ""), `wg0.conf:4: Address: "::ffff:10.0.0.1" is not a prefix: "::ffff:10.0.0.1" is an IPv4-mapped address: write 10.0.0.1`},
	{"MTU too small", minimal("MTU = 100", ""), `wg0.conf:4: MTU: "100" is not an MTU: want a number from 576 to 65455`},
	{"MTU not a number", minimal("MTU = 1_420", ""), `wg0.conf:4: MTU: "1_420" is not an MTU: want a number from 576 to 65455`},
	{"port", minimal("ListenPort = 65536", ""), `wg0.conf:4: ListenPort: "65536" is not a port: want a number from 0 to 65535`},
	{"DNS", minimal("DNS = 10.0.0.300", ""), `wg0.conf:4: DNS: "10.0.0.300" is not an address`},
	{"DNS domain", minimal("DNS = a..b", ""), `wg0.conf:4: DNS: "a..b" is neither an address nor a search domain`},
	{"endpoint without port", minimal("", "Endpoint = vpn.example.com"), `wg0.conf:7: Endpoint: "vpn.example.com" has no port: want HOST:PORT`},
	{"endpoint port 0", minimal("", "Endpoint = vpn.example.com:0"), `wg0.conf:7: Endpoint: "vpn.example.com:0": port is not a number from 1 to 65535`},
	{"endpoint without brackets", minimal("", "Endpoint = 2001:db8::1:51820"), `wg0.conf:7: Endpoint: "2001:db8::1:51820": an IPv6 address needs brackets: [ADDRESS]:PORT`},
	{"endpoint with a name in brackets", minimal("", "Endpoint = [vpn]:51820"), `wg0.conf:7: Endpoint: "[vpn]:51820": what stands in brackets is not an IPv6 address`},
	{"endpoint with a bad address", minimal("", "Endpoint = 192.0.2.256:51820"), `wg0.conf:7: Endpoint: "192.0.2.256:51820": "192.0.2.256" is neither an address nor a host name`},
	{"endpoint URL", minimal("", "Endpoint = udp://vpn:51820"), `wg0.conf:7: Endpoint: "udp://vpn:51820": "udp://vpn" is neither an address nor a host name`},
	{"keepalive", minimal("", "PersistentKeepalive = 25s"), `wg0.conf:7: PersistentKeepalive: "25s" is neither off nor a number of seconds from 0 to 65535`},

	{"AmneziaWG", minimal("Jc = 4", ""), `wg0.conf:4: Jc: is a key of AmneziaWG, which adit does not speak: plain WireGuard would not reach this peer`},
	{"Reserved", minimal("", "Reserved = 1,2,3"), `wg0.conf:7: Reserved: is not supported: without it this peer would not answer`},

	{"adit: unknown", minimal("#adit: publish = 80", ""), `wg0.conf:4: #adit: publish: is not an option that a file may set`},
	{"adit: direct", minimal("#adit: direct = 0.0.0.0/0", ""), `wg0.conf:4: #adit: direct: is not an option that a file may set`},
	{"adit: dns host", minimal("#adit: dns = host", ""), `wg0.conf:4: #adit: dns: "host" is not an address`},
	{"adit: bad value", minimal("#adit: mtu = x", ""), `wg0.conf:4: #adit: mtu: "x" is not an MTU: want a number from 576 to 65455`},
	{"adit: no value", minimal("#adit: mtu", ""), `wg0.conf:4: #adit: is not followed by KEY = VALUE`},
	{"adit: behind a key", minimal("MTU = 1280 #adit: mtu = 1300", ""), `wg0.conf:4: #adit: must be at the start of a line`},
}

func TestBadFileNamesFileLineAndKey(t *testing.T) {
	for _, tt := range badFiles {
		_, err := Parse("wg0.conf", strings.NewReader(tt.text))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v, want an *Error", tt.name, err)
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, err, tt.want)
		}
	}
}

func TestAmneziaKeysAreNeverPlainWireGuard(t *testing.T) {
	for _, key := range strings.Fields("Jc Jmin Jmax S1 S2 S3 S4 H1 H2 H3 H4 I1 I2 I3 I4 I5 jC reserved") {
		for _, text := range []string{minimal(key+"=1", ""), minimal("", key+"=1")} {
			_, err := Parse("wg0.conf", strings.NewReader(text))
			if err == nil || !strings.Contains(err.Error(), ": "+key+": ") {
				t.Errorf("%s: got %v, want an error that names it", key, err)
			}
		}
	}
}

func TestMisspeltKeyIsNamedWhereItsMissing(t *testing.T) {
	text := strings.Replace(minimal("", ""), "Address", "Adress", 1)
	_, err := Parse("wg0.conf", strings.NewReader(text))
	if got, want := fmt.Sprint(err), "wg0.conf:3: Adress: is not a key of wg-quick (did you mean Address?)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnknownKeyIsANoteAndStrictlyAnError(t *testing.T) {
	c := mustParse(t, minimal("Colour = blue", ""))
	want := []Note{{Line: 4, Key: "Colour", Text: "is not a key of wg-quick: ignored", Ignored: true}}
	if !slices.Equal(c.Notes, want) {
		t.Errorf("got notes %v, want %v", c.Notes, want)
	}
	if got, want := fmt.Sprint(c.Strict()), "wg0.conf:4: Colour: is not a key of wg-quick: refused by --strict"; got != want {
		t.Errorf("strict: got %q, want %q", got, want)
	}
	if err := mustParse(t, wholeFile).Strict(); err != nil {
		t.Errorf("strict: got %v for a file without ignored keys, want nil", err)
	}
}

func TestHooksGiveOneWarning(t *testing.T) {
	c := mustParse(t, minimal("PostUp = iptables -A x # y\nPostUp = z\nPreDown = reboot\nTable = off\nFwMark = 0x1\nSaveConfig = true", ""))
	var loud, quiet []string
	for _, n := range c.Notes {
		if !n.Ignored {
			t.Errorf("%v: not marked as ignored", n)
		}
		if n.Quiet {
			quiet = append(quiet, n.Key)
		} else {
			loud = append(loud, n.Key)
		}
	}
	if want := []string{"PostUp"}; !slices.Equal(loud, want) {
		t.Errorf("got warnings about %v, want %v", loud, want)
	}
	if want := strings.Fields("PostUp PreDown Table FwMark SaveConfig"); !slices.Equal(quiet, want) {
		t.Errorf("got quiet notes about %v, want %v", quiet, want)
	}
}

func TestSamePeerTwiceIsMerged(t *testing.T) {
	c := mustParse(t, minimal("", "AllowedIPs = 10.0.0.0/8\nEndpoint = a:1\nPersistentKeepalive = 5\n[Peer]\nPublicKey = "+
		peerKey1+"\nAllowedIPs = 10.0.0.0/8, ::/0\nEndpoint = b:2\nPresharedKey = "+preshared))
	if len(c.Peers) != 1 {
		t.Fatalf("got %d peers, want 1", len(c.Peers))
	}
	p := c.Peers[0]
	if want := prefixes("10.0.0.0/8", "::/0"); !slices.Equal(p.AllowedIPs, want) {
		t.Errorf("got AllowedIPs %v, want %v", p.AllowedIPs, want)
	}
	if p.Endpoint.String() != "b:2" || p.Keepalive != 5*time.Second || p.PresharedKey.IsZero() {
		t.Errorf("got %+v, want the later endpoint, the preshared key and the only keepalive", p)
	}
	want := []Note{{Line: 10, Key: "PublicKey", Text: "the same peer as on line 5: merged"}}
	if !slices.Equal(c.Notes, want) {
		t.Errorf("got notes %v, want %v", c.Notes, want)
	}
}

func TestFileOptionsTakeThePlaceOfTheFilesKeys(t *testing.T) {
	c := mustParse(t, minimal(`#adit: MTU = 1300
#ADIT: dns = 10.0.0.9 , 10.0.0.8
#adit:dns-search=a.example b.example
#adit: mode = namespace # with a comment
#adit: wait = tcp:[fd00::1]:80
#adit: wait-timeout = 2m
#adit: 4 = yes
#adit: 6 = no
# adit: this is only a comment
DNS = 10.0.0.1, c.example
MTU = 1400`, ""))
	want := Options{
		Mode: "namespace", Wait: Wait{WaitTCP, "[fd00::1]:80"},
		WaitTimeout: 2 * time.Minute, IPv4Only: true,
	}
	if c.Options != want {
		t.Errorf("got options %+v, want %+v", c.Options, want)
	}
	if got, want := fmt.Sprint(c.MTU, c.DNS, c.DNSSearch), "1300 [10.0.0.9 10.0.0.8] [a.example b.example]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func publicOf(private string) string {
	k, err := wg.ParsePrivateKey(private)
	if err != nil {
		panic(err)
	}
	return k.Public().String()
}

// No text that config makes may hold a key, however the file is mistyped.
func TestNoMessageHoldsASecret(t *testing.T) {
	secret := privateKey[:42] // mistyped: two characters are missing
	for _, line := range []string{
		"PrivateKey = " + secret, "PrivateKey " + secret, secret, secret + " = ", "[" + secret + "]",
		"Address = " + secret, "DNS = " + secret, "MTU = " + secret, "ListenPort = " + secret,
		"Colour = " + secret, "#adit: mode = " + secret, "#adit: " + secret + " = 1", "#adit: wait = tcp:" + secret + ":1",
		"#adit: dns-search = " + secret, "#adit: wait-timeout = " + secret, "PostUp = " + secret, "Table = " + secret,
	} {
		for _, text := range []string{minimal(line, ""), minimal("", line)} {
			c, err := Parse("wg0.conf", strings.NewReader(text))
			said := fmt.Sprint(err)
			if c != nil {
				said += fmt.Sprintf("%v %+v %#v", c, c, c.Notes)
				var b strings.Builder
				c.Print(&b)
				said += b.String()
			}
			if strings.Contains(said, secret[:20]) || strings.Contains(said, privateKey[:20]) {
				t.Errorf("%q: the message holds the key: %s", line, said)
			}
		}
	}
}
