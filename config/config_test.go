package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSetReplacesAValue(t *testing.T) {
	for _, tt := range []struct{ assignment, want string }{
		{"interface.MTU=1300", "MTU = 1300"},
		{"Interface.address = 10.9.9.9/32,fd00::9", "Address = 10.9.9.9/32, fd00::9/128"},
		{"interface.DNS=", "\nMTU = 1380"},
		{"peer[1].Endpoint=192.0.2.1:9", "Endpoint = 192.0.2.1:9"},
		{"peer[2].AllowedIPs=10.0.0.0/8", "AllowedIPs = 10.0.0.0/8"},
		{"peer[" + peerKey2 + "].PersistentKeepalive=7", "PersistentKeepalive = 7"},
	} {
		c := mustParse(t, wholeFile)
		if err := c.Set(tt.assignment); err != nil {
			t.Errorf("%s: got %v, want no error", tt.assignment, err)
			continue
		}
		if got := printed(c); !strings.Contains(got, tt.want+"\n") {
			t.Errorf("%s: got\n%s, want a line %q", tt.assignment, got, tt.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, tt := range []struct{ assignment, want string }{
		{"interface.PrivateKey=" + privateKey, "--set: interface.PrivateKey: is a secret: a command line can be read by others; put it in the file"},
		{"peer[1].presharedkey=" + preshared, "--set: peer[1].presharedkey: is a secret: a command line can be read by others; put it in the file"},
		{"mtu=1", "--set: want interface.KEY=VALUE or peer[N].KEY=VALUE"},
		{"interface.mtu", "--set: want interface.KEY=VALUE or peer[N].KEY=VALUE"},
		{"", "--set: want interface.KEY=VALUE or peer[N].KEY=VALUE"},
		{"interface." + privateKey, "--set: want interface.KEY=VALUE or peer[N].KEY=VALUE"},
		{"interface.mtu=x", `--set: interface.mtu: "x" is not an MTU: want a number from 576 to 65455`},
		{"interface.colour=x", "--set: interface.colour: is not a key of wg-quick"},
		{"interface.adress=x", "--set: interface.adress: is not a key of wg-quick (did you mean Address?)"},
		{"interface.address=", "--set: interface.address: none is left: a tunnel needs one"},
		{"interface.table=off", "--set: interface.table: has no effect here"},
		{"interface.jc=1", "--set: interface.jc: is a key of AmneziaWG, which adit does not speak: plain WireGuard would not reach this peer"},
		{"interface.endpoint=a:1", "--set: interface.endpoint: belongs in [Peer], not in [Interface]"},
		{"peer.endpoint=a:1", "--set: want interface.KEY=VALUE or peer[N].KEY=VALUE"},
		{"peer[0].endpoint=a:1", "--set: peer[0]: there are 2 peers, counted from 1"},
		{"peer[3].endpoint=a:1", "--set: peer[3]: there are 2 peers, counted from 1"},
		{"peer[1.endpoint=a:1", "--set: want interface.KEY=VALUE or peer[N].KEY=VALUE"},
		{"peer[" + preshared + "].endpoint=a:1", "--set: peer[FpCyhws9…]: no peer has this key"},
		{"peer[abc].endpoint=a:1", "--set: peer[…]: neither a number nor a public key: not a key: want 44 characters of base64 that stand for 32 bytes: it has 3 characters"},
		{"peer[" + peerKey1 + "].endpoint=a", `--set: peer[xTIBA5rb…].endpoint: "a" has no port: want HOST:PORT`},
	} {
		if got := fmt.Sprint(mustParse(t, wholeFile).Set(tt.assignment)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.assignment, got, tt.want)
		}
	}
}

func printed(c *Config) string {
	var b strings.Builder
	c.Print(&b)
	return b.String()
}

func TestPrintHidesKeysOnly(t *testing.T) {
	want := `[Interface]
PrivateKey = (hidden)
ListenPort = 51820
Address = 10.0.0.2/24, fd00::2/128, 10.1.0.2/32
DNS = 10.0.0.1, fd00::1, corp.example
MTU = 1380

[Peer]
PublicKey = ` + peerKey1 + `
PresharedKey = (hidden)
AllowedIPs = 10.0.0.0/8, fd00::/8, 192.0.2.7/32
Endpoint = vpn.example.com:51820
PersistentKeepalive = 25

[Peer]
PublicKey = ` + peerKey2 + `
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = [2001:db8::1]:443
`
	if got := printed(mustParse(t, wholeFile)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFinish(t *testing.T) {
	const all = "AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = a:1"
	only4 := func(c *Config) { c.Options.IPv4Only = true }
	only6 := func(c *Config) { c.Options.IPv6Only = true }
	for _, tt := range []struct {
		name, iface, peer string
		change            func(*Config)
		want              string // error, or notes
	}{
		{"nothing to say", "Address = fd00::2\nDNS = 10.0.0.1", all, nil, ""},
		{"no DNS", "Address = fd00::2", all, nil, "DNS: there is none: names will not resolve"},
		{"no DNS, and told so", "Address = fd00::2", all, func(c *Config) { c.Options.DNSMode = DNSOff }, ""},
		{"DNS outside", "DNS = 1.1.1.1", "AllowedIPs = 10.0.0.0/8\nEndpoint = a:1", nil, "DNS: 1.1.1.1 is outside of AllowedIPs: it will not answer"},
		{"DNS of the other family", "DNS = fd00::1", "AllowedIPs = 10.0.0.0/8, fd00::/8\nEndpoint = a:1", nil,
			"(AllowedIPs: has IPv6, but there is no IPv6 Address: not used) DNS: fd00::1 cannot be asked without an Address of its family"},
		{"DNS on loopback", "DNS = 127.0.0.53", "AllowedIPs = 0.0.0.0/0\nEndpoint = a:1", nil, "DNS: 127.0.0.53 is this end's own loopback, where nothing listens"},
		{"nothing allowed", "DNS = 10.0.0.1", "Endpoint = a:1", nil, "AllowedIPs: no peer has any: nothing can be reached DNS: 10.0.0.1 is outside of AllowedIPs: it will not answer"},
		{"no endpoint", "DNS = 10.0.0.1", "AllowedIPs = 10.0.0.0/8", nil, "(Endpoint: no peer has one: the tunnel waits to be called)"},
		{"prefix of two peers", "DNS = 10.0.0.1", "AllowedIPs = 10.0.0.0/8\nEndpoint = a:1\n[Peer]\nPublicKey = " + peerKey2 + "\nAllowedIPs = 10.0.0.0/8", nil,
			"AllowedIPs: 10.0.0.0/8 is in peer 1 and in peer 2: the last one gets it"},
		{"both families only", "", all, func(c *Config) { only4(c); only6(c) }, "error: wg0.conf: -4 and -6 exclude each other"},
		{"-6 without an address", "", all, only6, "error: wg0.conf: Address: none is left: -6 was asked for and there is no IPv6 address"},
		{"-4 leaves no IPv6", "Address = fd00::2\nDNS = 10.0.0.1, fd00::1\nMTU = 1000", all, only4, ""},
		{"MTU and IPv6", "Address = fd00::2\nMTU = 1279", all, nil, "error: wg0.conf: MTU: 1279 is too small for IPv6, which needs 1280: raise it, or use -4"},
		{"two peers made one by --set", "", all + "\n[Peer]\nPublicKey = " + peerKey2, func(c *Config) { c.Set("peer[2].PublicKey=" + peerKey1) },
			"error: wg0.conf: PublicKey: two peers have xTIBA5rb…"},
		{"no address left by --set", "", all, func(c *Config) { c.Set("interface.Address=") }, "error: wg0.conf: [Interface] has no Address"},
	} {
		c := mustParse(t, minimal(tt.iface, tt.peer))
		if tt.change != nil {
			tt.change(c)
		}
		var got []string
		if err := c.Finish(); err != nil {
			got = []string{"error: " + err.Error()}
		} else {
			for _, n := range c.Notes {
				text := strings.TrimPrefix(n.In("f"), "f: ")
				if n.Quiet {
					text = "(" + text + ")"
				}
				got = append(got, text)
			}
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestIPv4OnlyDropsIPv6Everywhere(t *testing.T) {
	c := mustParse(t, wholeFile)
	c.Options.IPv4Only = true
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.Addresses, c.DNS, c.Peers[0].AllowedIPs, c.Peers[1].AllowedIPs),
		"[10.0.0.2/24 10.1.0.2/32] [10.0.0.1] [10.0.0.0/8 192.0.2.7/32] [0.0.0.0/0]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFlagValues(t *testing.T) {
	show := func(v any, err error) string {
		if err != nil {
			return "error: " + err.Error()
		}
		return fmt.Sprint(v)
	}
	dns := func(s string) string {
		mode, addrs, err := ParseDNS(s)
		return show(fmt.Sprint(mode, addrs), err)
	}
	wait := func(s string) string { w, err := ParseWait(s); return show(w, err) }
	timeout := func(s string) string { d, err := ParseTimeout(s); return show(d, err) }
	search := func(s string) string { l, err := ParseSearch(s); return show(l, err) }
	for _, tt := range []struct{ got, want string }{
		{dns("10.0.0.1,fd00::1"), "file [10.0.0.1 fd00::1]"},
		{dns("host"), "host []"},
		{dns("off"), "off []"},
		{dns("dns.example"), `error: "dns.example" is not an address: want addresses, host or off`},
		{dns(""), `error: there is no address: want addresses, host or off`},
		{wait("handshake"), "handshake"},
		{wait("none"), "none"},
		{wait("tcp:db.corp:5432"), "tcp:db.corp:5432"},
		{wait("tcp:[fd00::1]:5432"), "tcp:[fd00::1]:5432"},
		{wait("tcp:db"), `error: "db" has no port: want HOST:PORT`},
		{wait("udp:db:1"), `error: "udp:db:1" is not something to wait for: want handshake, tcp:HOST:PORT or none`},
		{timeout("15"), "15s"},
		{timeout("1m30s"), "1m30s"},
		{timeout("0"), `error: "0" is not more than zero`},
		{timeout("-1s"), `error: "-1s" is not more than zero`},
		{timeout("soon"), `error: "soon" is not a time: want 15s, 2m or 500ms`},
		{search("a.example, b"), "[a.example b]"},
		{search("10.0.0.1"), `error: "10.0.0.1" is not a search domain`},
		{search(" "), `error: there is no search domain`},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func TestNameIsLookedForInTheUsersFolderThenTheSystems(t *testing.T) {
	home, system := t.TempDir(), t.TempDir()
	testOnlySystemDir = system
	t.Cleanup(func() { testOnlySystemDir = "/etc/wireguard" })
	write := func(path string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := func(name string) string { return map[string]string{"HOME": home, "XDG_CONFIG_HOME": "relative"}[name] }
	find := func(name string) string { p, err := Find(name, env); return fmt.Sprint(p, err) }

	if got, want := find("work"), fmt.Sprintf("no configuration named \"work\": tried %s, %s: file does not exist",
		filepath.Join(home, ".config/adit/work.conf"), filepath.Join(system, "work.conf")); got != want {
		t.Errorf("in vain: got %s, want %s", got, want)
	}
	inSystem := write(filepath.Join(system, "work.conf"))
	if got := find("work"); got != inSystem+"<nil>" {
		t.Errorf("got %s, want %s", got, inSystem)
	}
	inHome := write(filepath.Join(home, ".config/adit/work.conf"))
	if got := find("work"); got != inHome+"<nil>" {
		t.Errorf("got %s, want %s", got, inHome)
	}
	for _, path := range []string{"work.conf", "./work", "/etc/x"} {
		if got := find(path); got != path+"<nil>" {
			t.Errorf("got %s, want the path %s itself", got, path)
		}
	}
	var notFound *NotFoundError
	if _, err := Find("none", env); !errors.As(err, &notFound) || !errors.Is(err, fs.ErrNotExist) || len(notFound.Tried) != 2 {
		t.Errorf("got %v, want a NotFoundError with two paths", err)
	}
}

// Whatever a file holds, the parser returns; and what it made of the file,
// written out and read again, is the same.
func FuzzParse(f *testing.F) {
	f.Add(wholeFile)
	f.Add(minimal("#adit: wait = tcp:[fd00::1%x]:80\n#adit: 4 = yes\nPostUp = x", "Endpoint = [fe80::1%eth0]:1"))
	for _, bad := range badFiles {
		if len(bad.text) < 1<<12 {
			f.Add(bad.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("wg0.conf", strings.NewReader(text))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got error %v of type %T, want *Error", err, err)
			}
			return
		}
		var once, twice strings.Builder
		c.render(&once, true)
		again, err := Parse("wg0.conf", strings.NewReader(once.String()))
		if err != nil {
			t.Fatalf("written out, it is no longer a configuration: %v\n%s", err, once.String())
		}
		again.render(&twice, true)
		if once.String() != twice.String() {
			t.Fatalf("written out and read again it differs:\n%s\n%s", once.String(), twice.String())
		}
		c.Finish()
		printed(c)
	})
}

func FuzzSet(f *testing.F) {
	f.Add("interface.MTU=1300")
	f.Add("peer[1].Endpoint=192.0.2.1:9")
	f.Add("peer[" + peerKey2 + "].PersistentKeepalive=7")
	f.Fuzz(func(t *testing.T, assignment string) {
		c := mustParse(t, wholeFile)
		if err := c.Set(assignment); err == nil {
			c.Finish()
		}
	})
}
