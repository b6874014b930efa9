// Library fetches a page through a WireGuard tunnel within its own process: the
// engine as a library, with no other program, no privilege and no namespace.
//
//	go run ./examples/library wg0.conf http://10.0.0.1/
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"adit/config"
	"adit/link"
	"adit/netstack"
	"adit/wg"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: library FILE URL")
	}
	if err := fetch(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

// fetch writes what url answers to standard output.
func fetch(ctx context.Context, file, url string) error {
	stack, done, err := open(ctx, file)
	if err != nil {
		return err
	}
	defer done()
	client := &http.Client{Transport: &http.Transport{DialContext: stack.DialContext}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// open starts a tunnel: config says what it is, netstack is the network that we
// see, wg seals, link sends. done ends it.
func open(ctx context.Context, file string) (stack *netstack.Stack, done func(), err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	cfg, err := config.Parse(file, f)
	if err != nil {
		return nil, nil, err
	}
	if err := cfg.Finish(); err != nil {
		return nil, nil, err
	}
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = 1420
	}
	net := netstack.Config{Addresses: cfg.Addresses, DNS: cfg.DNS, Search: cfg.DNSSearch, MTU: mtu, Room: wg.Room(mtu)}
	var peers []wg.Peer
	for _, p := range cfg.Peers {
		net.Routes = append(net.Routes, p.AllowedIPs...)
		peers = append(peers, wg.Peer{
			PublicKey: p.PublicKey, PresharedKey: p.PresharedKey,
			Endpoint:   wg.Endpoint(p.Endpoint),
			AllowedIPs: p.AllowedIPs, Keepalive: p.Keepalive,
		})
	}
	if stack, err = netstack.New(net); err != nil {
		return nil, nil, err
	}
	udp, err := link.ListenUDP(link.UDPOptions{Port: cfg.ListenPort, FallbackPort: true})
	if err != nil {
		stack.Close()
		return nil, nil, err
	}
	engine, err := wg.New(wg.Config{PrivateKey: cfg.PrivateKey, Peers: peers, Device: stack.Device(), Transport: udp})
	if err != nil {
		udp.Close()
		stack.Close()
		return nil, nil, err
	}
	stack.SetUpstream(engine.Outbound)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1) // Run's result; one, so that Run need not be waited for
	go func() { ended <- engine.Run(ctx) }()
	done = func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "the tunnel ended:", err)
		}
		stack.Close()
	}
	if err := engine.Ready(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return stack, done, nil
}
