package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"adit/e2e/lab"
	"adit/link"
	"adit/netstack"
	"adit/wg"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	wgnetstack "golang.zx2c4.com/wireguard/tun/netstack"
)

// socketRole is the argument of an agent that is a tunnel as well: its
// connections are made by a TCP/IP stack within the process, without an
// interface. A [socketTunnel] follows.
const socketRole = "perf-socket-agent"

// A socketTunnel is the tunnel of such an agent.
type socketTunnel struct {
	Engine   string         // adit or wireguardGo
	Private  string         // keys as wg(8) prints them
	Public   string         // the far end's
	Endpoint netip.AddrPort // the far end's
}

// socketMTU is the tunnel's, as both programs have it unless told otherwise.
const socketMTU = 1420

// socketMain is the agent's side, if this process is one. It does not return
// then.
func socketMain() {
	if len(os.Args) != 3 || os.Args[1] != socketRole {
		return
	}
	var t socketTunnel
	err := json.Unmarshal([]byte(os.Args[2]), &t)
	if err == nil {
		var dial dialFunc
		if dial, err = t.open(); err == nil {
			obey(dial)
		}
	}
	fmt.Fprintln(os.Stderr, "perf:", err)
	os.Exit(1)
}

func (t *socketTunnel) open() (dialFunc, error) {
	switch t.Engine {
	case adit:
		return t.openAdit()
	case wireguardGo:
		return t.openWireguardGo()
	default:
		return nil, fmt.Errorf("no such engine: %q", t.Engine)
	}
}

// openAdit makes a tunnel of adit's parts, as examples/library does. It lasts as
// long as the process.
func (t *socketTunnel) openAdit() (dialFunc, error) {
	private, err := wg.ParsePrivateKey(t.Private)
	if err != nil {
		return nil, err
	}
	public, err := wg.ParsePublicKey(t.Public)
	if err != nil {
		return nil, err
	}
	routes := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
	stack, err := netstack.New(netstack.Config{Addresses: clientAddrs, Routes: routes, MTU: socketMTU, Room: wg.Room(socketMTU)})
	if err != nil {
		return nil, err
	}
	udp, err := link.ListenUDP(link.UDPOptions{})
	if err != nil {
		return nil, err
	}
	engine, err := wg.New(wg.Config{
		PrivateKey: private, Device: stack.Device(), Transport: udp,
		Peers: []wg.Peer{{
			PublicKey: public, AllowedIPs: routes,
			Endpoint: wg.Endpoint{Host: t.Endpoint.Addr().String(), Port: t.Endpoint.Port()},
		}},
	})
	if err != nil {
		return nil, err
	}
	stack.SetUpstream(engine.Outbound)
	go engine.Run(context.Background())
	return stack.DialContext, nil
}

// openWireguardGo makes one of wireguard-go's parts, as wireproxy does.
func (t *socketTunnel) openWireguardGo() (dialFunc, error) {
	var own []netip.Addr
	for _, p := range clientAddrs {
		own = append(own, p.Addr())
	}
	dev, network, err := wgnetstack.CreateNetTUN(own, nil, socketMTU)
	if err != nil {
		return nil, err
	}
	var set strings.Builder
	fmt.Fprintf(&set, "private_key=%s\npublic_key=%s\nendpoint=%v\n", inHex(t.Private), inHex(t.Public), t.Endpoint)
	fmt.Fprintf(&set, "allowed_ip=%v\nallowed_ip=%v\n", lab.TunnelV4, lab.TunnelV6)
	d := device.NewDevice(dev, conn.NewDefaultBind(), &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	if err := d.IpcSet(set.String()); err != nil {
		return nil, err
	}
	return network.DialContext, d.Up()
}

// inHex returns a key as the cross-platform interface spells it.
func inHex(key string) string {
	b, _ := base64.StdEncoding.DecodeString(key)
	return hex.EncodeToString(b)
}

// openSocket has an agent that is the tunnel.
func (w *world) openSocket(engine string, t terms) (*session, error) {
	tunnel, err := json.Marshal(socketTunnel{engine, w.clientKey.Private, w.serverKey.Public, t.endpoint})
	if err != nil {
		return nil, err
	}
	a, err := hire(w.lab.User.Command(w.self, socketRole, string(tunnel)), w.limit())
	if err != nil {
		return nil, fmt.Errorf("%s as a socket: %w", engine, err)
	}
	pid := a.cmd.Process.Pid
	return &session{agent: a, main: pid, all: []int{pid}, close: a.dismiss}, nil
}

// heldStream has streams carried by connections that the agent has made before.
func (w *world) heldStream(contender string, t terms, up, down int) (figures, error) {
	s, err := w.tunnel(contender, t)
	if err != nil {
		return nil, err
	}
	defer s.close()
	o := order{Do: "connect", Address: pumpAddress(lab.ServiceV4), Flows: up, Back: down, Seconds: w.seconds}
	if _, err := s.tell(o); err != nil {
		return nil, err
	}
	before, err := s.usage()
	if err != nil {
		return nil, err
	}
	o.Do = "stream"
	a, err := s.tell(o)
	if err != nil {
		return nil, err
	}
	after, err := s.usage()
	if err != nil {
		return nil, err
	}
	if a.Bytes == 0 {
		return nil, errors.New("nothing has arrived")
	}
	f := s.costs(a.Bytes, a.Seconds, after.since(before))
	f["allocs"] = a.Allocs / (a.Bytes / (1 << 20))
	return f, nil
}

// socketTrials compare the socket path.
func socketTrials() []trial {
	var all []trial
	add := func(name, about string, up, down int, must float64) {
		all = append(all, trial{
			name: name, about: about + " of a socket in the tunnel's own process", sides: []string{adit, wireguardGo}, against: wireguardGo,
			measure: func(w *world, side string) (figures, error) { return w.heldStream(side, terms{socket: true}, up, down) },
			gates: []gate{
				cpuGate(wireguardGo, must, 0.25),
				{side: adit, figure: "gbps", against: wireguardGo, atLeast: true, must: 1.15, aim: 1.3},
			},
		})
	}
	add("socket-up", "one TCP stream, upload,", 1, 0, 0.35)
	add("socket-down", "one TCP stream, download,", 0, 1, 0.50)
	add("socket8-up", "eight TCP streams, upload,", 8, 0, 0.35)
	add("socket8-down", "eight TCP streams, download,", 0, 8, 0.50)
	add("socket1000-up", "a thousand TCP streams, upload,", 1000, 0, 0.35)
	add("socket1000-down", "a thousand TCP streams, download,", 0, 1000, 0.50)
	return all
}
