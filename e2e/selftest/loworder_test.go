package selftest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/e2e/peer"
)

// lowOrder are the public keys with which every secret is zero: the points of
// small order of Curve25519 (https://cr.yp.to/ecdh.html#validate), the list of
// netns.sh.
var lowOrder = []string{
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	"4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
	"X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
	"7P///////////////////////////////////////38=",
	"7f///////////////////////////////////////38=",
	"7v///////////////////////////////////////38=",
}

// netns.sh: seven peers with a persistent keepalive, and not one packet in two
// seconds. Here traffic asks for them as well; and an eighth, of another kind,
// shows that a peer of this configuration is contacted.
func TestLowOrderPointsAreNeverContacted(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		h := newHost(t, "a")
		d := startDevice(h, e)
		d.set("private-key @%s", d.key.Private)
		for i, key := range lowOrder {
			d.set("peer %s persistent-keepalive 1 endpoint 127.0.0.1:1111 allowed-ips 192.168.%d.0/24", key, i)
		}
		if got := strings.Fields(d.show("peers")); len(got) != len(lowOrder) {
			t.Fatalf("peers are %v, want all %d", got, len(lowOrder))
		}
		seen := h.watch("lo")
		d.up()
		for i := range lowOrder {
			d.ip("route add 192.168.%d.0/24 dev %s", i, d.name)
		}
		var names []string
		for i := range lowOrder {
			names = append(names, fmt.Sprintf("192.168.%d.1", i))
		}
		h.ip("addr add 192.168.99.1/32 dev %s", d.name)
		for _, n := range names {
			h.try("", "ping", "-c", "1", "-W", "0.1", n)
		}
		all := func(datagram) bool { return true }
		during(t, 2*time.Second, "a silent wire", func() bool { return len(seen.filter(all)) == 0 })

		d.set("peer %s persistent-keepalive 1 endpoint 127.0.0.1:1112", peer.NewKey().Public)
		eventually(t, "an ordinary peer is contacted", func() bool { return len(seen.filter(all)) > 0 })
		if got := seen.filter(all); slices.ContainsFunc(got, func(d datagram) bool { return d.to.Port() == 1111 }) {
			t.Errorf("a peer of low order is contacted: %v", got)
		}
	})
}
