package selftest

import (
	"testing"
)

// netns.sh, "that route MTUs work with the padding": a packet is padded to a
// multiple of 16, and to no more than the MTU (§5.4.6). 1297 bytes become 1299,
// not 1312: with 60 more around them 1359, and 1360 is dropped on the way.
// netns.sh lowers the MTU of a route; a TUN is not told of routes, only of
// the interface's own MTU, which is changed under way here.
func TestPaddingStopsAtTheMTU(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		need(t, "nft")
		w := newWorld(t, p)
		w.mtu(1299)
		w.reach(v4)
		w.middle.nft(`table ip narrow {
			chain forward { type filter hook forward priority 0; ip length 1360 drop; }
		}`)
		w.b.ping(1, insideA4, "-s", "1269")
		w.a.ping(1, insideB4, "-s", "1269")
		// The control: one more, and the padding has 1360 bytes.
		w.mtu(1300)
		eventually(t, "the padding follows the MTU", func() bool {
			out, err := w.b.try("", "ping", "-c", "1", "-W", "0.3", "-s", "1269", insideA4)
			_ = out
			return err != nil
		})
		w.mtu(1299)
		w.b.ping(1, insideA4, "-s", "1269")
	})
}
