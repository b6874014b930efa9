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
	adit    string  // the binary
	self    string  // a copy of this program that the user can run
	iperf   string  // its path, or empty: our own streams
	seconds float64 // of one measurement
	round   int     // the one that runs, from 1

	serverKey, clientKey peer.Key
	endpoint             netip.AddrPort // of the far end
	far                  *peer.Peer     // nil while there is none
	farKind              string
}

// The tunnel's addresses on the client's side.
var clientAddrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.2/32"), netip.MustParsePrefix("fd09::2/128")}

const serverPort = 51820

// newWorld builds the hosts and starts the server's services.
func newWorld(o options) (*world, error) {
	l, err := lab.Setup()
	if err != nil {
		return nil, err
	}
	w := &world{
		lab: l, adit: o.adit, self: filepath.Join(l.Dir, "perf"), seconds: o.seconds,
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

// farEnd makes sure that the far end is a new one of that kind: every
// measurement finds it in the same state.
func (w *world) farEnd(kind string) error {
	w.endFar()
	config := peer.Device(w.serverKey.Private, serverPort) + peer.Remote(w.clientKey.Public, "", "", clientAddrs...)
	role := map[string]func(name, config string) (*peer.Peer, error){
		wireguardGo: peer.Start,
		tailscale:   func(name, config string) (*peer.Peer, error) { return peer.StartAs(forkRole, name, config) },
	}[kind]
	if role == nil {
		return fmt.Errorf("no such far end: %q", kind)
	}
	return w.lab.Server.Do(func() (err error) {
		if w.far, err = role("wg0", config); err != nil {
			return fmt.Errorf("the far end: %w", err)
		}
		inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
		return lab.BringUp("wg0", nil, inner, lab.ServiceV4, lab.ServiceV6)
	})
}

// endFar ends the far end. A responder drops an initiation within 20 ms of the
// last, whoever sends it: hence the pause.
func (w *world) endFar() {
	if w.far != nil {
		w.far.Kill()
		w.far = nil
	}
	time.Sleep(25 * time.Millisecond)
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
	if _, err := s.tell(order{Do: "stream", Address: pumpAddress(lab.ServiceV4), Flows: 1, Back: 1, Seconds: 0.5}); err != nil {
		s.close()
		return nil, fmt.Errorf("warm-up: %w", err)
	}
	return s, nil
}
