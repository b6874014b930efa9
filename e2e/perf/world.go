package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// A world is the two hosts and what all trials share.
type world struct {
	lab     *lab.Lab
	adit    string        // the binary
	self    string        // a copy of this program that the user can run
	iperf   string        // its path, or empty: our own streams
	seconds float64       // of one measurement
	quiet   time.Duration // how long an idle tunnel is watched
	round   int           // the one that runs, from 1

	serverKey, clientKey peer.Key
	endpoint             netip.AddrPort // of the far end
	far                  far            // nil while there is none
}

// The tunnel's addresses on the client's side.
var clientAddrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.2/32"), netip.MustParsePrefix("fd09::2/128")}

// The ports of the tunnels. adit takes one of its own.
const (
	serverPort = 51820
	clientPort = 51822
)

// newWorld builds the hosts and starts the server's services.
func newWorld(o options) (*world, error) {
	l, err := lab.Setup()
	if err != nil {
		return nil, err
	}
	w := &world{
		lab: l, adit: o.adit, self: filepath.Join(l.Dir, "perf"), seconds: o.seconds, quiet: o.quiet,
		serverKey: peer.NewKey(), clientKey: peer.NewKey(),
		endpoint: netip.AddrPortFrom(lab.ServerV4.Addr(), serverPort),
	}
	if path, err := lab.Look("iperf3"); err == nil && !o.own {
		w.iperf = path
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(w.self, self, 0o755); err != nil {
		return nil, err
	}
	// The host's user may ping, as adit's command may.
	os.WriteFile("/proc/sys/net/ipv4/ping_group_range", fmt.Appendf(nil, "%d %d", l.User.GID, l.User.GID), 0)
	return w, l.Server.Do(serveStreams)
}

// tunnel opens a contender's tunnel to a new wireguard-go and warms it up.
func (w *world) tunnel(contender string, t terms) (*session, error) {
	if err := w.farEnd(wireguardGo); err != nil {
		return nil, err
	}
	return w.warm(contender, t)
}

// warm opens a contender's tunnel to the far end that is there, and sends some
// data both ways, so that buffers exist and code has run.
func (w *world) warm(contender string, t terms) (*session, error) {
	s, err := w.open(contender, t)
	if err != nil {
		return nil, err
	}
	s.peak = watchMemory(s.all)
	shut := s.close
	s.close = func() { s.peak.stop(); shut() }
	o := order{Do: "connect", Address: pumpAddress(lab.ServiceV4), Flows: 1, Back: 1, Seconds: 0.5}
	if _, err = s.tell(o); err == nil {
		o.Do = "stream"
		_, err = s.tell(o)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("warm-up: %w", err)
	}
	return s, nil
}
