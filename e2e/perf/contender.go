package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// A terms is how a tunnel is opened, the same for every contender.
type terms struct {
	endpoint  netip.AddrPort // of the far end
	veth      bool           // adit without /dev/net/tun
	mode      string         // of adit; empty: the strongest
	socket    bool           // no interface: the agent is the tunnel
	keepalive int            // seconds; 0 is none
	more      string         // lines for the end of adit's configuration
	log       string         // a file for all that adit has to say
}

// A session is an open tunnel with an agent at its client's end.
type session struct {
	*agent
	main  int   // the tunnel's process
	all   []int // all processes of the contender
	peak  *peak // of their memory, while it is watched
	close func()
}

// usage is what the contender's processes have used so far.
func (s *session) usage() (usage, error) { return usageOf(s.all...) }

// open opens the contender's tunnel to the far end.
func (w *world) open(contender string, t terms) (*session, error) {
	if !t.endpoint.IsValid() {
		t.endpoint = w.endpoint
	}
	if t.socket {
		return w.openSocket(contender, t)
	}
	name := strings.Fields(contender)[0]
	if name == adit {
		return w.openAdit(t)
	}
	if start := starters[name]; start != nil {
		return w.openPeer(t, start)
	}
	return nil, fmt.Errorf("no such contender: %q", contender)
}

// openAdit has the agent as adit's command. The tunnel's process is the engine,
// the command's parent.
func (w *world) openAdit(t terms) (*session, error) {
	file, err := w.lab.User.WriteFile("perf.conf", w.config(t), 0o600)
	if err != nil {
		return nil, err
	}
	if t.veth {
		if err := lab.MountTUN(0); err != nil {
			return nil, err
		}
		defer lab.UnmountTUN()
	}
	args := []string{"run", "-c", file}
	if t.mode != "" {
		args = append(args, "--mode="+t.mode)
	}
	if t.log != "" {
		args = append(args, "-vv", "--log-file", t.log)
	}
	cmd := w.lab.User.Command(w.adit, append(args, "--", w.self, agentRole)...)
	a, err := hire(cmd, w.limit())
	if err != nil {
		return nil, fmt.Errorf("adit: %w", err)
	}
	all := familyOf(cmd.Process.Pid, a.hello.PID)
	return &session{agent: a, main: a.hello.Parent, all: all, close: a.dismiss}, nil
}

// config is adit's wg-quick file.
func (w *world) config(t terms) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nAddress = %v, %v\nDNS = %v\n[Peer]\nPublicKey = %s\nAllowedIPs = %v, %v\nEndpoint = %v\n",
		w.clientKey.Private, clientAddrs[0], clientAddrs[1], lab.ServiceV4, w.serverKey.Public, lab.TunnelV4, lab.TunnelV6, t.endpoint)
	if t.keepalive > 0 {
		fmt.Fprintf(&b, "PersistentKeepalive = %d\n", t.keepalive)
	}
	return b.String() + t.more
}

// openPeer has an interface on the host itself, and the agent there.
func (w *world) openPeer(t terms, start starter) (*session, error) {
	p, err := w.startClient(t, start)
	if err != nil {
		return nil, err
	}
	a, err := w.local()
	if err != nil {
		p.Kill()
		return nil, err
	}
	return &session{agent: a, main: p.PID(), all: []int{p.PID()}, close: func() {
		a.dismiss()
		p.Kill()
	}}, nil
}

// startClient has a client's interface on the host, ready for packets.
func (w *world) startClient(t terms, start starter) (*peer.Peer, error) {
	const name = "wgclient"
	inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
	config := peer.Device(w.clientKey.Private, clientPort) + peer.Remote(w.serverKey.Public, "", t.endpoint.String(), inner...)
	if t.keepalive > 0 {
		config += fmt.Sprintf("persistent_keepalive_interval=%d\n", t.keepalive)
	}
	p, err := start(name, config)
	if err != nil {
		return nil, err
	}
	if err := lab.BringUp(name, clientAddrs, inner); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// A starter starts a wireguard-go, or what is derived from it, in the caller's
// namespace.
type starter func(name, config string) (*peer.Peer, error)

// starters are those that there are.
var starters = map[string]starter{
	wireguardGo: peer.Start,
	tailscale:   func(name, config string) (*peer.Peer, error) { return peer.StartAs(forkRole, name, config) },
}

// local returns an agent on the host, without any tunnel.
func (w *world) local() (*agent, error) {
	return hire(w.lab.User.Command(w.self, agentRole), w.limit())
}

// limit is how long a session may last.
func (w *world) limit() time.Duration {
	return time.Minute + 10*time.Duration(w.seconds*float64(time.Second))
}
