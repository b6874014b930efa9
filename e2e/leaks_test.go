package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"

	"golang.org/x/sys/unix"
)

// TestNothingLeaksWhileThePeerIsDead: every program of the matrix fails, and none
// gets out another way.
func TestNothingLeaksWhileThePeerIsDead(t *testing.T) {
	w := enter(t)
	w.watch(t)
	script := `"$1" get "$2"; echo up; while read -r line; do eval "timeout 2 $line"; echo "status $?"; done`
	s := startStream(t, w.in(t, conf{}, "sh", "-c", script, "sh", w.probe, pages[0]))
	s.want("up")
	w.killPeer(t)
	for _, line := range []string{
		w.probe + " dial tcp 10.9.0.1:80 1",
		w.probe + " dial tcp [fd09::1]:80 1",
		w.probe + " dial tcp 198.51.100.1:80 1",
		w.probe + " lookup web.test",
		"getent hosts web.test",
		"ping -c 1 -W 1 10.9.0.1",
		"ping -6 -c 1 -W 1 fd09::1",
		"dig +time=1 +tries=1 @10.78.0.53 web.test",
		w.probe + " udp 10.9.0.1:7 10 10",
	} {
		s.send(line + "\n")
		for {
			l, _ := s.next()
			if l == "ok" || l == "status 0" && !strings.Contains(line, " dial ") {
				t.Errorf("%s succeeded", line)
			}
			if strings.HasPrefix(l, "status ") {
				break
			}
		}
	}
	s.in.Close()
	s.wantEnd(0)
}

// Outside of AllowedIPs there is nothing: the kernel says so at once, and the
// host's way to the same address is not taken.
func TestOutsideAllowedIPsIsUnreachableAtOnce(t *testing.T) {
	w := enter(t)
	w.watch(t)
	file := conf{allowed: "10.9.0.0/24, fd09::/64"}.write(t, w)
	wantStdout(t, w.run("-c", file, "--", w.probe, "get", pages[0], pages[1]), "10.9.0.2\nfd09::2\n")
	// How long adit takes to start is not asked here.
	s := startStream(t, w.run("-c", file, "--", "sh", "-c", `echo up; while read network to; do "$1" dial "$network" "$to" 5; done`, "sh", w.probe))
	s.want("up")
	for _, to := range []string{"198.51.100.1:80", "[2001:db8:51::1]:80", "10.77.0.1:80", "[fd77::1]:80", "10.78.0.53:53"} {
		for _, network := range []string{"tcp", "udp"} {
			begin := time.Now()
			s.send(network + " " + to + "\n")
			if got, _ := s.next(); got != "network is unreachable" {
				t.Errorf("%s %s: got %q, want network is unreachable", network, to, got)
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("%s %s: it took %v to say so", network, to, took)
			}
		}
	}
	s.in.Close()
	s.wantEnd(0)
}

// What a service of the host listens on is not the command's.
func TestHostsOwnServicesAreOutOfReach(t *testing.T) {
	w := enter(t)
	w.watch(t)
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "10.77.0.2:0", "[fd77::2]:0", "@adit-e2e"} {
		network := "tcp"
		if addr[0] == '@' {
			network = "unix"
		}
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		got := wantOK(t, w.in(t, conf{}, w.probe, "dial", network, l.Addr().String(), "1"))
		if want := "connection refused\n"; got != want && !(got != "ok\n" && strings.Contains(addr, "77")) {
			t.Errorf("dial %v: got %q, want %q", l.Addr(), got, want)
		}
	}
}

// TestCommandHasNoWayOut: what a program may try by itself. Each script prints
// OUT if it got somewhere.
func TestCommandHasNoWayOut(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3", "ip", "unshare", "nsenter")
	w.watch(t)
	py := func(body string) []string { return []string{"python3", "-c", body} }
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"take the link down", []string{"sh", "-c", "ip link set lo down && echo OUT"}},
		{"add a route", []string{"sh", "-c", "ip route add 198.51.100.0/24 dev lo && echo OUT"}},
		{"a nested namespace changes the network", []string{"sh", "-c", "unshare -Ur ip link set lo down && echo OUT"}},
		{"enter the engine's network", []string{"sh", "-c", "nsenter -t $PPID -n true && echo OUT"}},
		{"enter the engine's namespaces", []string{"sh", "-c", "nsenter -t $PPID -U -n true && echo OUT"}},
		{"read the engine's memory", []string{"sh", "-c", "head -c 1 /proc/$PPID/mem && echo OUT; cat /proc/$PPID/environ && echo OUT"}},
		{"uncover the host's resolv.conf", []string{"sh", "-c", "umount /etc/resolv.conf && echo OUT; umount /etc && echo OUT; unshare -Urm umount /etc && echo OUT"}},
		{"a packet socket", py("import socket\ntry:\n  socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n  print('OUT')\nexcept PermissionError: pass")},
		{"a raw socket", py("import socket\ntry:\n  socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)\n  print('OUT')\nexcept PermissionError: pass")},
		{"a vsock", py("import socket\ntry:\n  socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n  print('OUT')\nexcept OSError: pass")},
		{"a vsock by the 32-bit door", py(vsock32)},
		{"every descriptor", []string{"sh", "-c", "for f in /proc/self/fd/*; do case $(readlink $f) in *net*|*tun*|socket*) echo OUT $f;; esac; done"}},
		{"every other process", []string{"sh", "-c", "for p in /proc/[0-9]*; do nsenter -n --net=$p/ns/net true 2>/dev/null && [ $(readlink $p/ns/net) != $(readlink /proc/self/ns/net) ] && echo OUT $p; done; true"}},
		{"broadcast and multicast", py(`
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for to in ("255.255.255.255", "224.0.0.251", "10.77.0.255", "10.9.0.255", "239.1.2.3"):
    try: s.sendto(b"hello", (to, 5353))
    except OSError: pass
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for to in ("ff02::fb", "ff05::1", "fd77::1"):
    try: s.sendto(b"hello", (to, 5353))
    except OSError: pass`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := do(t, w.in(t, conf{}, c.argv...)); strings.Contains(r.stdout, "OUT") {
				t.Errorf("it got out: %s\n%s", r.stdout, r.stderr)
			}
		})
	}
}

// vsock32 calls socket(AF_VSOCK) by way of the x32 numbers, which a filter that
// does not look at the architecture lets through.
const vsock32 = `
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(0x40000000 + 41, 40, 1, 0) >= 0:
    print("OUT")
`

// TestInheritedSocketsOfTheHostAreClosed: a caller may have left open a socket of
// the host's network; the command must not get it by mistake.
func TestInheritedSocketsOfTheHostAreClosed(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	w.watch(t)
	const give = `
import os, socket, sys
for f, k in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM), (socket.AF_NETLINK, socket.SOCK_RAW)):
    s = socket.socket(f, k)
    os.set_inheritable(s.fileno(), True)
    s.detach()
a, b = socket.socketpair()
for s in (a, b):
    os.set_inheritable(s.fileno(), True)
    s.detach()
os.execv(sys.argv[1], sys.argv[1:])
`
	const look = `
import socket
for fd in range(3, 64):
    try:
        s = socket.socket(fileno=fd)
    except OSError:
        continue
    print(s.family.name)
    s.detach()
`
	file := conf{}.write(t, w)
	wantStdout(t, w.plain("python3", "-c", give, "/usr/bin/python3", "-c", look), "AF_INET\nAF_INET\nAF_INET6\nAF_NETLINK\nAF_UNIX\nAF_UNIX\n")
	wantStdout(t, w.plain("python3", "-c", give, w.adit, "run", "-c", file, "--", "python3", "-c", look), "AF_UNIX\nAF_UNIX\n")
}

// TestDaemonsLoseTheNetworkAndDoNotGainTheHosts: what a command leaves running.
func TestDaemonsLoseTheNetworkAndDoNotGainTheHosts(t *testing.T) {
	w := enter(t)
	w.watch(t)
	fifo := filepath.Join(w.User.Home, "go")
	answer := filepath.Join(w.User.Home, "answer")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(fifo, w.User.UID, w.User.GID); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(fifo); os.Remove(answer) })
	script := `"$1" get "$2"; setsid sh -c 'read x <go; "$0" dial tcp 198.51.100.1:80 2 >answer.part; mv answer.part answer' "$1" >/dev/null 2>&1 </dev/null & exit 0`
	r := do(t, w.in(t, conf{}, "sh", "-c", script, w.probe, w.probe, pages[0]))
	if r.code != 0 || r.stdout != "10.9.0.2\n" {
		t.Fatalf("got status %d and %q\n%s", r.code, r.stdout, r.stderr)
	}
	if !strings.HasPrefix(r.stderr, "adit: ") || !strings.Contains(r.stderr, "network") {
		t.Errorf("want a line about the process that lost its network, got %q", r.stderr)
	}
	// A fifo that nobody reads cannot be opened: the daemon is not there.
	var f *os.File
	if !settle(5*time.Second, func() (open bool) {
		var err error
		f, err = os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	}) {
		t.Fatalf("the daemon did not outlive the command; adit said %q; there are %v", r.stderr, lab.Descendants(os.Getpid()))
	}
	fmt.Fprintln(f)
	f.Close()
	if !settle(10*time.Second, func() bool { _, err := os.Stat(answer); return err == nil }) {
		t.Fatal("the daemon has not answered")
	}
	if got, _ := os.ReadFile(answer); strings.TrimSpace(string(got)) == "ok" {
		t.Error("the daemon could connect after adit had ended")
	}
}
