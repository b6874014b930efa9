package selftest

import "testing"

// netns.sh, "a wg-quick(8)-style policy routing for the default route": all goes
// into the tunnel but what bears the device's mark, which is its own datagrams.
// Without the mark they would go into the tunnel too, which is the control.
func TestDefaultRouteThroughTheTunnelDoesNotLoop(t *testing.T) {
	families(t, func(t *testing.T, outer family) {
		eachPair(t, func(t *testing.T, p pair) {
			const mark = 51820
			w := newWorld(t, p)
			w.reach(outer)
			w.b.address("192.168.99.7/32", "abab::1111/128")
			w.a.set("peer %s allowed-ips 0.0.0.0/0,::/0", w.b.key.Public)
			for _, f := range []string{"-4", "-6"} {
				w.a.ip("%s route add default dev %s table %d", f, w.a.name, mark)
				w.a.ip("%s rule add not fwmark %d table %d", f, mark, mark)
				w.a.ip("%s rule add table main suppress_prefixlength 0", f)
			}
			w.a.sysctl("ipv4/conf/eth0/rp_filter", "0")
			seen := w.middle.watch("toa")
			own := func() int { return len(seen.from(outer.endpointA())) }
			w.a.silent("192.168.99.7")
			if n := own(); n > 0 {
				t.Errorf("%d datagrams leave without a mark", n)
			}
			w.a.set("fwmark %d", mark)
			w.a.want("fwmark", "0xca6c")
			w.a.ping(1, "192.168.99.7") // the handshake may have to wait for its turn
			w.a.pingOnce(1, "192.168.99.7")
			before := w.a.transfer(w.b.key.Public)
			w.a.run("ping", "-q", "-c", "100", "-i", "0.002", "192.168.99.7")
			w.a.run("ping", "-q", "-c", "100", "-i", "0.002", "abab::1111")
			w.a.pingOnce(1, "192.168.99.7") // behind the others
			// 84 and 104 bytes, padded, once each: around again would be 60 more.
			const want = 101*(32+96) + 100*(32+112)
			if n := w.a.transfer(w.b.key.Public).sent - before.sent; n != want {
				t.Errorf("%d bytes for 201 pings, want %d: they go round", n, want)
			}
			w.a.set("fwmark 0")
			w.a.want("fwmark", "off")
		})
	})
}
