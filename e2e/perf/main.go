package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// options are the command line.
type options struct {
	rounds  int
	seconds int
	json    bool
	adit    string // the binary; empty: build it
	own     bool   // do not use iperf3
}

// aditVar names the binary under measurement.
const aditVar = "ADIT_E2E_BINARY"

func main() {
	peer.Main()
	pumpMain()
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how often each client is measured")
	flag.IntVar(&o.seconds, "seconds", 5, "length of one stream")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.StringVar(&o.adit, "adit", os.Getenv(aditVar), "the adit `binary` to measure (default $"+aditVar+", else build it)")
	flag.BoolVar(&o.own, "own-stream", false, "use the built-in stream even if iperf3 is there")
	flag.Parse()
	if err := start(o); err != nil {
		fmt.Fprintln(os.Stderr, "perf:", err)
		os.Exit(1)
	}
}

// start enters the lab if need be, and measures there.
func start(o options) error {
	if lab.Inside() {
		o.adit = os.Getenv(aditVar)
		return measure(o)
	}
	dir, err := os.MkdirTemp("", "adit-perf-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if o.adit == "" {
		o.adit = filepath.Join(dir, "adit")
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w -E adit_entry", "-o", o.adit, "adit/cmd/adit")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build adit: %w", err)
		}
	}
	if o.adit, err = filepath.Abs(o.adit); err != nil {
		return err
	}
	code, err := lab.Enter(dir, aditVar+"="+o.adit)
	if err == nil && code != 0 {
		os.RemoveAll(dir)
		os.Exit(code)
	}
	return err
}

// The tunnel's addresses on the client's side.
var clientAddrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.2/32"), netip.MustParsePrefix("fd09::2/128")}

const serverPort = 51820

// measure builds the lab and runs the rounds: in each, both clients upload and
// download, one after the other.
func measure(o options) error {
	l, err := lab.Setup()
	if err != nil {
		return err
	}
	serverKey, clientKey := peer.NewKey(), peer.NewKey()
	inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
	var server *peer.Peer
	err = l.Server.Do(func() error {
		if server, err = peer.Start("wg0", peer.Device(serverKey.Private, serverPort)+peer.Remote(clientKey.Public, "", "", clientAddrs...)); err != nil {
			return err
		}
		return lab.BringUp("wg0", nil, inner, lab.ServiceV4, lab.ServiceV6)
	})
	if err != nil {
		return fmt.Errorf("the peer: %w", err)
	}
	defer server.Kill()
	s, err := newStream(l, o)
	if err != nil {
		return err
	}
	adit := &aditClient{lab: l, binary: o.adit, config: wgQuick(clientKey.Private, serverKey.Public)}
	clients := []client{
		adit,
		&wireguardGo{lab: l, private: clientKey.Private, server: serverKey.Public},
	}
	r := report{Stream: s.name(), Seconds: o.seconds}
	for round := range o.rounds {
		for _, c := range clients {
			for _, down := range []bool{false, true} {
				end, err := s.serve()
				if err != nil {
					return err
				}
				m, err := c.measure(s.argv(down))
				end()
				if err != nil {
					return fmt.Errorf("round %d, %s: %w", round+1, c.name(), err)
				}
				m.Round, m.Client, m.Down = round+1, c.name(), down
				r.Runs = append(r.Runs, m)
				if !o.json {
					fmt.Println(m)
				}
				// Responders drop an initiation within 20 ms of the last.
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	if r.StartMillis, err = adit.start(); err != nil {
		return err
	}
	return r.print(o.json, os.Stdout)
}

// wgQuick returns the client's configuration.
func wgQuick(private, server string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v, %v\nDNS = %v\n[Peer]\nPublicKey = %s\nAllowedIPs = %v, %v\nEndpoint = %v:%d\n",
		private, clientAddrs[0], clientAddrs[1], lab.ServiceV4, server, lab.TunnelV4, lab.TunnelV6, lab.ServerV4.Addr(), serverPort)
}
