package selftest

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
)

// device.c, wg_stop and wg_open: an interface that is down answers nobody, and
// has forgotten its sessions; its peers, their endpoints and their counters
// stay. wireguard-go, made for other kernels, never sees its interface go down:
// its probe, an empty write, is refused as too short for the header that it
// has asked for before the state is looked at (tun/tun_linux.go,
// routineHackListener), and what netlink says of it is ignored unless the same
// message said that it was up (routineNetlinkListener, wasEverUp).
func TestInterfaceDownAndUpAgain(t *testing.T) {
	eachOfAdit(t, func(t *testing.T, p pair) {
		w := newWorld(t, p)
		w.reach(v4)
		w.a.pingOnce(3, insideB4)
		before, met := w.a.transfer(w.b.key.Public), w.a.handshake(w.b.key.Public)
		w.a.ip("link set %s down", w.a.name)
		eventually(t, "the port is closed", func() bool { return !w.a.hasPort(portA) })
		if got := w.a.transfer(w.b.key.Public); got != before {
			t.Errorf("counters are %+v when it is down, were %+v", got, before)
		}
		if got := w.a.handshake(w.b.key.Public); got != met {
			t.Errorf("the last handshake was at %d, and now at %d", met, got)
		}
		w.a.want("endpoints", w.b.key.Public+"\t"+v4.endpointB())
		w.a.want("listen-port", fmt.Sprint(portA))
		seen := w.middle.watch("toa")
		w.b.silent(insideA4)
		if got := seen.from(v4.endpointA()); len(got) > 0 {
			t.Errorf("it is down and sends %v", got)
		}
		w.a.up()
		eventually(t, "the port is open", func() bool { return w.a.hasPort(portA) })
		w.a.address(insideA6 + "/112") // which the kernel takes away
		w.a.ping(1, insideB4)
		w.a.ping(1, insideB6)
		eventually(t, "a new handshake is seen, the session was gone", func() bool {
			return len(kinds(seen.filter(func(datagram) bool { return true }), initiation)) > 0
		})
		if got := w.a.transfer(w.b.key.Public); got.sent <= before.sent || got.received <= before.received {
			t.Errorf("counters are %+v, and were %+v before: they begin anew", got, before)
		}
	})
}

// hasPort reports whether somebody on h has a UDP socket on that port.
func (h *host) hasPort(port int) bool {
	out, _ := h.try("", "cat", "/proc/self/net/udp", "/proc/self/net/udp6")
	return listens(out, port, "07")
}

// netns.sh has every interface born where the sockets are and moved to where
// the programs are: https://www.wireguard.com/netns/. The process is in the
// middle; its TUN is not.
func TestInterfaceIsMovedAwayFromItsSockets(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		middle, a, b := newHost(t, "middle"), newHost(t, "a"), newHost(t, "b")
		w := &world{t: t, middle: middle, a: startDevice(middle, p.a), b: startDevice(middle, p.b)}
		middle.move(w.a.name, a)
		middle.move(w.b.name, b)
		w.a.host, w.b.host = a, b
		w.configure(portA, portB)
		for _, loopback := range []string{"127.0.0.1:%d", "[::1]:%d"} {
			if loopback[0] == '[' && (p.a.name == wireguardGo.name || p.b.name == wireguardGo.name) {
				continue // see TestPeerIsFollowedToTheOtherFamily
			}
			w.a.set("peer %s endpoint "+loopback, w.b.key.Public, portB)
			w.b.set("peer %s endpoint "+loopback, w.a.key.Public, portA)
			w.pingBoth()
		}
		if out, _ := a.try("", "cat", "/proc/self/net/udp"); listens(out, portA, "07") {
			t.Error("the socket has moved with the interface")
		}
		if p.a.name == wireguardGo.name {
			return // it does not see what follows even here
		}
		// And it is seen to go down and up over there.
		w.a.ip("link set %s down", w.a.name)
		eventually(t, "the port is closed", func() bool { return !middle.hasPort(portA) })
		w.a.up()
		w.a.ping(1, insideB4)
	})
}

// Who deletes the interface, or removes the socket's file, ends the process, as
// with wireguard-go's own.
func TestDeviceEndsWithItsInterface(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		h := newHost(t, "a")
		for what, end := range map[string]func(d *device){
			"the interface is deleted":     func(d *device) { d.ip("link del %s", d.name) },
			"the socket's file is removed": func(d *device) { os.Remove(d.socket()) },
		} {
			d := startDevice(h, e)
			d.up()
			end(d)
			select {
			case err := <-d.exited:
				d.exited <- err
			case <-time.After(patience):
				t.Errorf("%s, and %s goes on", what, e.name)
			}
			d.end() // looks for what is left
		}
	})
}

// netns.sh, "there aren't circular reference loops": two interfaces, each moved to
// where the other one's sockets are. When those places go, the interfaces go,
// and the processes with them.
func TestDeviceEndsWithTheNamespaceOfItsInterface(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		a, b := newHost(t, "a"), newHost(t, "b")
		c, d := startDevice(a, e), startDevice(b, e)
		away, other := newHost(t, "away"), newHost(t, "other")
		a.move(c.name, away)
		b.move(d.name, other)
		away.ip("link set %s up", c.name)
		away.ns.Close()
		other.ns.Close()
		for _, x := range []*device{c, d} {
			select {
			case err := <-x.exited:
				x.exited <- err
			case <-time.After(patience):
				t.Errorf("%s holds its interface's namespace", e.name)
			}
		}
	})
}

// A process that was killed leaves the file of its socket, as any would, and
// nothing else; the next with that name takes its place.
func TestKilledDeviceLeavesTheFileOfItsSocketAlone(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		h := newHost(t, "a")
		d := startDevice(h, e)
		d.cmd.Process.Signal(syscall.SIGKILL)
		d.exited <- <-d.exited
		if d.exists() {
			t.Error("the interface has outlived the process")
		}
		if _, err := os.Stat(d.socket()); err != nil {
			t.Fatalf("the test has nothing to replace: %v", err)
		}
		again := e.command(d.name)
		if err := h.ns.Do(again.Start); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- again.Wait() }()
		d.cmd, d.exited = again, exited
		// Not by asking with wg: see startDevice.
		eventually(t, "the next answers", func() bool {
			c, err := net.Dial("unix", d.socket())
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		h.run("wg", "show", d.name)
	})
}

// When all is over nothing of it is left in the lab: see also device.end.
func TestNoProcessOutlivesTheTests(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		var d *device
		t.Run("device", func(t *testing.T) {
			h := newHost(t, "a")
			d = startDevice(h, e)
			d.set("private-key @%s listen-port 0", d.key.Private)
			d.up()
		})
		if _, alive := lab.ReadProcess(d.cmd.Process.Pid); alive {
			t.Errorf("process %d is still there", d.cmd.Process.Pid)
		}
	})
}
