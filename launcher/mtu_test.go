package launcher

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"adit/config"
)

var errNoSuchName = errors.New("no such host")

// A fakeWay is a network whose names and routes the test knows. It counts the
// questions for each name.
type fakeWay struct {
	names map[string]string      // the address of each name that resolves
	rooms map[netip.AddrPort]int // for the others there is no way
	asked map[string]int
}

func (w *fakeWay) underlay() *underlay {
	w.asked = make(map[string]int)
	return &underlay{
		resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			w.asked[host]++
			if a, ok := w.names[host]; ok {
				return []netip.Addr{netip.MustParseAddr(a)}, nil
			}
			return nil, errNoSuchName
		},
		room: func(remote netip.AddrPort) int { return w.rooms[remote] },
	}
}

// peersAt returns a configuration with one peer at port 1 of each host, and one
// that has no endpoint.
func peersAt(hosts ...string) *config.Config {
	cfg := &config.Config{Peers: []config.Peer{{}}}
	for _, h := range hosts {
		cfg.Peers = append(cfg.Peers, config.Peer{Endpoint: config.Endpoint{Host: h, Port: 1}})
	}
	return cfg
}

func startingTunnel(cfg *config.Config) *tunnel {
	return &tunnel{e: newTestEngine(), cfg: cfg, start: time.Now(), timeout: config.DefaultWaitTimeout}
}

func TestMTUIsWhatTheNarrowestWayLeaves(t *testing.T) {
	four, six := prefixes("10.9.0.2/32"), prefixes("10.9.0.2/32", "fd09::2/128")
	near, far := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	for _, c := range []struct {
		name      string
		asked     int // the configuration's MTU
		rooms     map[netip.AddrPort]int
		addresses []netip.Prefix
		want      int
	}{
		{"a wide way", 0, map[netip.AddrPort]int{near: 8940, far: 8920}, six, 1420},
		{"one narrow way of two", 0, map[netip.AddrPort]int{near: 1440, far: 1372}, six, 1372},
		{"no way yet", 0, nil, six, 1420},
		{"too narrow for IPv6", 0, map[netip.AddrPort]int{near: 1200}, six, 1280},
		{"narrow, and no IPv6 inside", 0, map[netip.AddrPort]int{near: 1200}, four, 1200},
		{"too narrow for IPv4", 0, map[netip.AddrPort]int{near: 500}, four, 576},
		{"asked for", 1500, map[netip.AddrPort]int{near: 1200}, six, 1500},
	} {
		way := &fakeWay{names: map[string]string{"near": "192.0.2.1", "far": "2001:db8::1"}, rooms: c.rooms}
		cfg := peersAt("near", "far")
		cfg.MTU = c.asked
		got, err := startingTunnel(cfg).chooseMTU(t.Context(), cfg, way.underlay(), inside{addresses: c.addresses})
		if err != nil || got != c.want {
			t.Errorf("%s: got %d, %v; want %d", c.name, got, err, c.want)
		}
	}
}

func TestOneEndpointThatResolvesIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := &fakeWay{names: map[string]string{"there": "192.0.2.1"}}
		cfg := peersAt("gone", "there", "gone too")
		tun := startingTunnel(cfg)
		got, err := tun.remotes(t.Context(), cfg, way.underlay())
		if want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		if took := time.Since(tun.start); took != 0 || way.asked["gone"] != 1 {
			t.Errorf("it waited %v for the others, and asked %d times", took, way.asked["gone"])
		}
	})
}

func TestWaitNoneDoesNotWaitForNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := new(fakeWay)
		cfg := peersAt("gone")
		cfg.Options.Wait.Kind = config.WaitNone
		tun := startingTunnel(cfg)
		mtu, err := tun.chooseMTU(t.Context(), cfg, way.underlay(), inside{})
		if err != nil || mtu != defaultMTU {
			t.Errorf("got %d, %v; want %d", mtu, err, defaultMTU)
		}
		if took := time.Since(tun.start); took != 0 || way.asked["gone"] != 1 {
			t.Errorf("it waited %v, and asked %d times, want once and at once", took, way.asked["gone"])
		}
	})
}

func TestPeersWithoutEndpointsAskNobody(t *testing.T) {
	way := new(fakeWay)
	cfg := peersAt()
	got, err := startingTunnel(cfg).remotes(t.Context(), cfg, way.underlay())
	if len(got) != 0 || err != nil || len(way.asked) != 0 {
		t.Errorf("got %v, %v, after the questions %v", got, err, way.asked)
	}
}

// At boot the network comes up a moment after the command is started.
func TestNamesAreAskedAgainUntilOneResolves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := new(fakeWay)
		under := way.underlay()
		ask := under.resolve
		under.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			if way.asked[host] == 3 {
				way.names = map[string]string{host: "192.0.2.1"}
			}
			return ask(ctx, host)
		}
		cfg := peersAt("late")
		tun := startingTunnel(cfg)
		got, err := tun.remotes(t.Context(), cfg, under)
		if len(got) != 1 || err != nil {
			t.Errorf("got %v, %v; want one address", got, err)
		}
		if took := time.Since(tun.start); took != 3*resolvePause {
			t.Errorf("it took %v, want three pauses of %v", took, resolvePause)
		}
	})
}

func TestNameThatNeverResolvesIsTheErrorInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := peersAt("gone")
		tun := startingTunnel(cfg)
		_, err := tun.remotes(t.Context(), cfg, new(fakeWay).underlay())
		var f *Error
		if !errors.As(err, &f) || f.Code != CodeFailed || !errors.Is(err, errNoSuchName) {
			t.Errorf("got %v, want a failure because %v", err, errNoSuchName)
		}
		if took := time.Since(tun.start); took != tun.timeout {
			t.Errorf("it took %v, want %v", took, tun.timeout)
		}
	})
}

func TestSignalEndsTheWaitForAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := peersAt("gone")
		tun := startingTunnel(cfg)
		time.AfterFunc(time.Second, func() { tun.e.cancel(abort{15}) })
		_, err := tun.remotes(tun.e.starting, cfg, new(fakeWay).underlay())
		if err != (abort{15}) || time.Since(tun.start) != time.Second {
			t.Errorf("after %v: got %v, want the signal after a second", time.Since(tun.start), err)
		}
	})
}
