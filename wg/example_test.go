package wg_test

import (
	"context"
	"fmt"
	"net/netip"

	"adit/wg"
	"adit/wg/wgtest"
)

// Two engines, joined by a network in memory. A real one has a TUN or a network
// stack as its Device, and UDP as its Transport.
func Example() {
	network := wgtest.NewNetwork(1)
	gateAt := netip.MustParseAddrPort("192.0.2.1:51820")
	gateKey, clientKey := wg.NewPrivateKey(), wg.NewPrivateKey()
	gatePipe, clientPipe := wgtest.NewPipe(1420), wgtest.NewPipe(1420)

	gate, err := wg.New(wg.Config{
		PrivateKey: gateKey, Device: gatePipe, Transport: network.Listen(gateAt),
		Peers: []wg.Peer{{
			PublicKey:  clientKey.Public(),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := wg.New(wg.Config{
		PrivateKey: clientKey, Device: clientPipe, Transport: network.Listen(netip.MustParseAddrPort("192.0.2.2:1")),
		Peers: []wg.Peer{{
			PublicKey:  gateKey.Public(),
			Endpoint:   wg.Endpoint{Host: "192.0.2.1", Port: 51820},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- gate.Run(ctx) }()
	go func() { ended <- client.Run(ctx) }()

	if err := client.Ready(ctx); err != nil {
		fmt.Println(err)
		return
	}
	from, to := netip.MustParseAddrPort("10.0.0.2:1"), netip.MustParseAddrPort("10.0.0.1:2")
	clientPipe.Send(wgtest.UDP(from, to, 33, []byte("hello")))
	fmt.Printf("%s\n", gatePipe.Receive(ctx)[28:])
	fmt.Println("up:", client.Status().Peers[0].Up)
	cancel()
	fmt.Println(<-ended, <-ended)
	// Output:
	// hello
	// up: true
	// <nil> <nil>
}
