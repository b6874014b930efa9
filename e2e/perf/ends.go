package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"

	"golang.org/x/sys/unix"
)

// A far is what is at the server's end of the tunnel.
type far interface{ Kill() }

// startFar starts a far end in the caller's namespace, without addresses.
func (w *world) startFar(kind, name, config string) (far, error) {
	if kind == adit {
		return startDevice(w.adit, name, config)
	}
	return starters[kind](name, config)
}

// An aditDevice is adit device, the interface of a machine.
type aditDevice struct{ cmd *exec.Cmd }

func startDevice(binary, name, config string) (far, error) {
	cmd := exec.Command(binary, "device", "-f", name)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &aditDevice{cmd}
	if err := configure("/var/run/wireguard/"+name+".sock", config); err != nil {
		d.Kill()
		return nil, fmt.Errorf("adit device: %w", err)
	}
	return d, nil
}

func (d *aditDevice) Kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// configure waits for the socket of a device and applies lines of the
// cross-platform interface.
func configure(path, config string) error {
	var c net.Conn
	var err error
	for range 500 {
		if c, err = net.Dial("unix", path); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "set=1\n"+strings.TrimRight(config, "\n")+"\n\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "errno=0\n" {
		err = fmt.Errorf("it refuses: %s", strings.TrimSpace(line))
	}
	return err
}

// farEnd makes sure that the far end is a new one of that kind: every
// measurement finds it in the same state.
func (w *world) farEnd(kind string) error {
	w.endFar()
	var client string // where it is: all but the fork hear that from itself
	if kind == tailscale {
		client = netip.AddrPortFrom(lab.HostV4.Addr(), clientPort).String()
	}
	config := peer.Device(w.serverKey.Private, serverPort) + peer.Remote(w.clientKey.Public, "", client, clientAddrs...)
	return w.lab.Server.Do(func() error {
		f, err := w.startFar(kind, "wg0", config)
		if err != nil {
			return fmt.Errorf("the far end: %w", err)
		}
		w.far = f
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

// endsTrials have the same program on both ends.
func endsTrials() (all []trial) {
	for _, c := range []struct {
		way string
		load
	}{{"up", load{to: lab.ServiceV4, up: 1}}, {"down", load{to: lab.ServiceV4, down: 1}}} {
		all = append(all, trial{
			name: "both-ends-" + c.way, about: "one TCP stream, " + c.way + "load, the same program on both ends",
			sides: contenders, against: wireguardGo,
			gates: []gate{{side: adit, figure: "gbps", against: wireguardGo, atLeast: true, must: 1.35, aim: 1.7}},
			measure: func(w *world, side string) (figures, error) {
				if err := w.farEnd(side); err != nil {
					return nil, err
				}
				s, err := w.warm(side, terms{})
				if err != nil {
					return nil, err
				}
				defer s.close()
				return w.stream(s, c.load)
			},
		})
	}
	return all
}
