package selftest

import (
	"strings"
	"testing"

	"adit/e2e/peer"
)

// untilToldSo are options of [host.silent]: an error ends ping at once, and a busy
// machine has more than a second for it.
var untilToldSo = []string{"-W", "20"}

// device.c, wg_xmit: a packet that has no peer, or whose peer has no endpoint,
// is answered with host unreachable, or address unreachable in IPv6, at once.
// wireguard-go drops it.
func TestNoPeerAndNoEndpointAreUnreachable(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		d := startDevice(newHost(t, "a"), e)
		d.set("private-key @%s peer %s allowed-ips 192.168.241.3/32,fd00::3/128", d.key.Private, peer.NewKey().Public)
		d.address(insideA4+"/24", insideA6+"/112")
		d.up()
		for _, c := range []struct{ what, to, want string }{
			{"no peer", "192.168.241.77", "Destination Host Unreachable"},
			{"no endpoint", "192.168.241.3", "Destination Host Unreachable"},
			{"no peer", "fd00::77", "Destination unreachable: Address unreachable"},
			{"no endpoint", "fd00::3", "Destination unreachable: Address unreachable"},
		} {
			var wait []string
			if e.name != wireguardGo.name {
				wait = untilToldSo
			}
			out := d.silent(c.to, wait...)
			if got, want := strings.Contains(out, c.want), e.name != wireguardGo.name; got != want {
				t.Errorf("%s for %s: unreachable is %v, want %v:\n%s", c.what, c.to, got, want, out)
			}
		}
	})
}

// netns.sh: b translates what comes from the middle into its tunnel, the peer is
// gone, and the ICMP error finds its way back by the same translation. Linux
// sends it from the address nearest to the middle; adit, which has no address
// of its own, from the one that is not reached.
func TestUnreachableGoesBackThroughTranslation(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		need(t, "nft")
		if e.name == wireguardGo.name {
			return // it says nothing: see above
		}
		w := newWorld(t, pair{wireguardGo, e})
		w.reach(v4)
		w.b.ping(1, insideA4)
		w.b.nft(`table ip nat {
			chain post { type nat hook postrouting priority srcnat; ip saddr 10.0.2.0/24 ip daddr 192.168.241.0/24 snat to 192.168.241.2; }
		}`)
		w.b.sysctl("ipv4/ip_forward", "1")
		w.middle.ip("route add %s via %s", insideA4, outsideB4)
		w.middle.ping(1, insideA4) // the way there and back
		w.b.set("peer %s remove", w.a.key.Public)
		if out := w.middle.silent(insideA4, untilToldSo...); !strings.Contains(out, "Destination Host Unreachable") {
			t.Errorf("no error comes back:\n%s", out)
		}
	})
}
