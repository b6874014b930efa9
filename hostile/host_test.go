package hostile

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
)

// Whoever got out at the last moment has got out: what waits in a queue when the
// watch ends is heard, and so is what a connection has brought that stays open.
func TestWhatWasSentBeforeTheEndIsHeard(t *testing.T) {
	h := &Host{World: World{Token: "0123456789ab", Host4: netip.MustParseAddr("127.0.0.1")}, seen: make(map[Sighting]bool)}
	path := filepath.Join(t.TempDir(), "host")
	if err := h.listen(); err != nil {
		t.Fatal(err)
	}
	if err := h.ListenUnix(path); err != nil {
		t.Fatal(err)
	}
	w := h.World
	at := netip.AddrPortFrom(w.Host4, w.Port).String()
	ways := []struct{ network, address, where string }{
		{"udp", at, "a socket at " + at}, {"tcp", at, "a listener at " + at}, {"unix", path, path},
	}
	for i, way := range ways {
		c, err := net.Dial(way.network, way.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w.id = 1 + i
		if _, err := c.Write([]byte(w.canary())); err != nil {
			t.Fatal(err)
		}
	}
	seen := h.Close()
	for i, way := range ways {
		if !slices.ContainsFunc(seen, func(s Sighting) bool { return s.ID == 1+i && s.Where == way.where }) {
			t.Errorf("%s: nothing was seen at %s: got %v", way.network, way.where, seen)
		}
	}
}
