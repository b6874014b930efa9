package selftest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adit/e2e/peer"
)

// quickly is how long wg may take for a big configuration, on a machine that
// does other things too.
const quickly = 20 * time.Second

// setconf gives wg setconf a file of lines.
func (d *device) setconf(lines []string) {
	d.t.Helper()
	path := filepath.Join(d.t.TempDir(), "conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.run("wg", "setconf", d.name, path)
}

// netns.sh, "things that usually cause split responses", the first: one peer
// with 130,560 allowed prefixes, all of which wg shows.
func TestManyAllowedIPsAreAllShown(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		d := startDevice(newHost(t, "a"), e)
		lines := []string{"[Interface]", "PrivateKey=" + d.key.Private, "[Peer]", "PublicKey=" + peer.NewKey().Public}
		want := make(map[string]bool)
		for a := 1; a <= 255; a++ {
			for b := range 256 {
				lines = append(lines, fmt.Sprintf("AllowedIPs=%d.%d.0.0/16,%d::%d/128", a, b, a, b))
				want[fmt.Sprintf("%d.%d.0.0/16", a, b)] = true
				v6 := fmt.Sprintf("%d::%d/128", a, b)
				if b == 0 {
					v6 = fmt.Sprintf("%d::/128", a)
				}
				want[v6] = true
			}
		}
		busy.Lock()
		defer busy.Unlock()
		begin := time.Now()
		d.setconf(lines)
		set := time.Since(begin)
		list := strings.Fields(d.show("allowed-ips"))[1:]
		shown := time.Since(begin) - set
		t.Logf("%d prefixes: set in %v, shown in %v", len(want), set.Round(time.Millisecond), shown.Round(time.Millisecond))
		if set > quickly || shown > quickly {
			t.Errorf("set in %v, shown in %v, want at most %v", set, shown, quickly)
		}
		if len(list) != len(want) {
			t.Errorf("%d prefixes are shown, want %d", len(list), len(want))
		}
		for _, p := range list {
			if !want[p] {
				t.Fatalf("%s is shown, and was not set or is shown twice", p)
			}
			delete(want, p)
		}
	})
}

// The second and the third: 40 peers with 52 prefixes each; 30 peers of which
// the last has some. The fourth: 197 prefixes of the second peer, none of the
// first.
func TestManyPeersAreAllShown(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		d := startDevice(newHost(t, "a"), e)
		lines := []string{"[Interface]", "PrivateKey=" + d.key.Private}
		for a := range 40 {
			lines = append(lines, "[Peer]", "PublicKey="+peer.NewKey().Public)
			for b := range 52 {
				lines = append(lines, fmt.Sprintf("AllowedIPs=%d.%d.0.0/16", a+1, b+1))
			}
		}
		d.setconf(lines)
		n := 0
		for line := range strings.Lines(d.show("allowed-ips")) {
			n++
			if words := len(strings.Fields(line)); words != 53 {
				t.Errorf("a peer is shown with %d prefixes, want 52", words-1)
			}
		}
		if n != 40 {
			t.Errorf("%d peers are shown, want 40", n)
		}

		lines = []string{"[Interface]"}
		for range 30 {
			lines = append(lines, "[Peer]", "PublicKey="+peer.NewKey().Public)
		}
		lines = append(lines, "AllowedIPs=255.2.3.4/32,abcd::255/128")
		d.setconf(lines)
		conf := d.run("wg", "showconf", d.name)
		if n := strings.Count(conf, "[Peer]"); n != 30 || !strings.Contains(conf, "AllowedIPs = 255.2.3.4/32, abcd::255/128") {
			t.Errorf("wg showconf has %d peers, want 30 and the prefixes of the last:\n%s", n, conf)
		}

		d.setconf([]string{"[Interface]"})
		first, second := peer.NewKey().Public, peer.NewKey().Public
		var list []string
		for i := range 197 {
			list = append(list, fmt.Sprintf("abcd::%d", i+1))
		}
		d.set("peer %s", first)
		d.set("peer %s allowed-ips %s", second, strings.Join(list, ","))
		if got, ok := d.of(first, "allowed-ips"); !ok || got != "(none)" {
			t.Errorf("the first peer has %q", got)
		}
		if got := d.allowed(second); len(got) != 197 {
			t.Errorf("the second peer has %d prefixes, want 197", len(got))
		}
	})
}

// Hundreds of peers, each a real one in turn: b takes their keys one after the
// other and is let in by its prefix alone.
func TestHundredsOfPeersAreServed(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		const n = 500
		w := newWorld(t, p)
		keys := make([]peer.Key, n)
		lines := []string{"[Interface]", "PrivateKey=" + w.a.key.Private, fmt.Sprintf("ListenPort=%d", portA)}
		address := func(i int) string { return fmt.Sprintf("192.168.%d.%d", 242+i/250, i%250+1) }
		for i := range keys {
			keys[i] = peer.NewKey()
			lines = append(lines, "[Peer]", "PublicKey="+keys[i].Public, "AllowedIPs="+address(i)+"/32")
		}
		begin := time.Now()
		w.a.setconf(lines)
		if d := time.Since(begin); d > quickly {
			t.Errorf("%d peers are set in %v", n, d)
		}
		w.a.ip("route add 192.168.242.0/23 dev %s", w.a.name)
		w.b.set("peer %s preshared-key /dev/null endpoint %s", w.a.key.Public, v4.endpointA())
		served := []int{0, 1, 249, 250, 333, n - 1}
		for _, i := range served {
			w.b.set("private-key @%s", keys[i].Private)
			w.b.address(address(i) + "/24")
			w.b.ping(2, insideA4, "-I", address(i))
		}
		begin = time.Now()
		dump := strings.Split(w.a.show("dump"), "\n")
		if d := time.Since(begin); d > quickly || len(dump) != n+1 {
			t.Errorf("wg show dump has %d lines after %v, want %d", len(dump), d, n+1)
		}
		met := 0
		for _, line := range dump[1:] {
			// key, preshared key, endpoint, allowed, handshake, received, sent, keepalive: wg(8)
			if f := strings.Split(line, "\t"); len(f) != 8 {
				t.Fatalf("wg show dump has a line of %d fields: %q", len(f), line)
			} else if f[4] != "0" {
				met++
			}
		}
		if met != len(served) {
			t.Errorf("%d peers have a handshake, want %d", met, len(served))
		}
	})
}
