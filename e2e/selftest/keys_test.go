package selftest

import (
	"strings"
	"testing"

	"adit/e2e/peer"
)

// netns.sh, "that we can change private keys and immediately handshake".
func TestPrivateKeyChangesAndAHandshakeFollowsAtOnce(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		old, key := w.a.key, peer.NewKey()
		w.a.set("private-key @%s", key.Private)
		w.b.set("peer %s preshared-key @%s allowed-ips %s/32 peer %s remove", key.Public, w.psk, insideA4, old.Public)
		w.a.ping(1, insideB4)
		w.a.want("public-key", key.Public)
		if w.b.handshake(key.Public) == 0 {
			t.Error("no handshake with the new key")
		}
		w.b.want("peers", key.Public)
	})
}

// netlink.c, wg_set_device: without a private key nothing is sent and nothing
// is answered; with it again all is well.
func TestNoPrivateKeyMeansSilence(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		w.a.set("private-key /dev/null")
		w.a.want("private-key", "(none)")
		w.a.want("public-key", "(none)")
		seen := w.middle.watch("toa")
		w.a.silent(insideB4)
		w.b.silent(insideA4)
		eventually(t, "the host without a key is asked", func() bool { return len(seen.fromAddr(outsideB4)) > 0 })
		// wireguard-go goes on with a key of zeros, which nobody answers.
		if got := seen.fromAddr(outsideA4); len(got) > 0 && p.a.name != wireguardGo.name {
			t.Errorf("a host without a key sends %v", got)
		}
		w.a.set("private-key @%s", w.a.key.Private)
		w.b.set("peer %s remove", w.a.key.Public)
		w.b.set("peer %s preshared-key @%s allowed-ips %s/32 endpoint %s", w.a.key.Public, w.psk, insideA4, v4.endpointA())
		w.b.ping(1, insideA4)
	})
}

// §5.4.2: the preshared key is part of the handshake. A change breaks the next
// one until the other side has it too; the session that exists goes on.
func TestPresharedKeyChanges(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.ping(1, insideB4)
		psk := peer.NewPresharedKey()
		w.a.set("peer %s preshared-key @%s", w.b.key.Public, psk)
		w.a.want("preshared-keys", w.b.key.Public+"\t"+psk)
		w.a.ping(1, insideB4)
		w.a.set("peer %s remove", w.b.key.Public) // and the session with it
		w.a.set("peer %s preshared-key @%s allowed-ips %s/32 endpoint %s", w.b.key.Public, psk, insideB4, v4.endpointB())
		w.a.silent(insideB4)
		w.b.set("peer %s preshared-key @%s", w.a.key.Public, psk)
		w.a.ping(1, insideB4)
		w.a.set("peer %s preshared-key /dev/null", w.b.key.Public)
		w.a.want("preshared-keys", w.b.key.Public+"\t(none)")
	})
}

// netns.sh, the block on keys at its end, on one device. The replies of wg are
// the assertions.
func TestKeysAreSetAndUnset(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		d := startDevice(newHost(t, "a"), e)
		one, two, psk := peer.NewKey(), peer.NewKey(), peer.NewPresharedKey()
		d.want("private-key", "(none)")
		d.set("private-key @%s peer %s preshared-key @%s", one.Private, two.Public, psk)
		d.want("private-key", one.Private)
		d.want("preshared-keys", two.Public+"\t"+psk)
		d.set("private-key /dev/null peer %s preshared-key /dev/null", two.Public)
		d.want("private-key", "(none)")
		d.want("preshared-keys", two.Public+"\t(none)")

		// A peer that turns out to be ourselves goes, and does not come.
		d.set("peer %s", two.Public)
		d.set("private-key @%s", two.Private)
		d.want("public-key", two.Public)
		d.want("peers", "")
		d.set("peer %s", two.Public)
		d.want("peers", "")
		d.set("private-key @%s", one.Private)
		d.set("peer %s", two.Public)
		d.want("peers", two.Public)

		// Keys are clamped: "/" sets the three lowest bits, "+" the lowest no more
		// (RFC 7748 §5).
		d.set("private-key @/%s", one.Private[1:])
		d.want("private-key", "+"+one.Private[1:])
		for _, list := range []string{
			"0.0.0.0/0,10.0.0.0/8,100.0.0.0/10,172.16.0.0/12,192.168.0.0/16", "0.0.0.0/0",
			"::/0,1700::/111,5000::/4,e000::/37,9000::/75", "::/0",
		} {
			d.set("peer %s allowed-ips %s", two.Public, list)
			want := strings.ReplaceAll(list, ",", " ")
			if got := d.allowed(two.Public); len(got) != len(strings.Fields(want)) {
				t.Errorf("allowed-ips %s: got %v", list, got)
			}
			for _, prefix := range strings.Fields(want) {
				if !d.allowed(two.Public)[prefix] {
					t.Errorf("allowed-ips %s: %s is missing", list, prefix)
				}
			}
		}
		d.set("peer %s remove", two.Public)
		d.want("peers", "")
		if _, err := d.try("", "wg", "show", "doesnotexist"); err == nil {
			t.Error("wg shows an interface that does not exist")
		}
	})
}
