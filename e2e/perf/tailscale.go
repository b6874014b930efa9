package main

import (
	"fmt"
	"os"

	"adit/e2e/peer"

	"github.com/tailscale/wireguard-go/conn"
	"github.com/tailscale/wireguard-go/device"
	"github.com/tailscale/wireguard-go/tun"
)

// forkRole is argv[0] of the process that is tailscale's fork of wireguard-go.
const forkRole = "e2e-tailscale-wireguard-go"

// forkMain runs the fork and does not return, if this process is one. It has
// its defaults: one queue, and all offloads that the kernel's TUN has.
func forkMain() {
	if os.Args[0] != forkRole {
		return
	}
	if err := fork(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, forkRole+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func fork(name string) error {
	t, err := tun.CreateTUN(name, device.DefaultMTU)
	if err != nil {
		return err
	}
	log := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	dev := device.NewDevice(t, conn.NewDefaultBind(), log)
	defer dev.Close()
	return peer.Serve(dev, os.Stdin, os.Stdout)
}
