package e2e

import (
	"errors"
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

// attempt is a program that connects to the unix socket that is its argument,
// each time that it reads a line, and says OUT or held.
const attempt = `
import os, socket, sys
for line in sys.stdin:
    try:
        socket.socket(socket.AF_UNIX).connect(line.strip())
        print("OUT", flush=True)
    except OSError as e:
        print("held", e.strerror, flush=True)
`

// listenAt makes the directory of path anew, and a socket there that anybody may
// connect to: a daemon that starts. It hangs up on everybody, so that its queue
// never is full.
func listenAt(t *testing.T, path string) {
	t.Helper()
	dir := filepath.Dir(path)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
}

// The sockets of resolver daemons, by every name that they have.
func TestNoAliasOfAResolverSocketIsWithinReach(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	w.fakeResolvers(t)
	alias := filepath.Join(w.User.Home, "alias")
	if err := os.MkdirAll(alias, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/run", alias, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(alias, unix.MNT_DETACH) })
	for _, c := range []struct{ name, dir, path string }{
		{"by its path", "/", "/run/nscd/socket"},
		{"by the path of /var", "/", "/var/run/nscd/socket"},
		{"by another mount of /run", "/", alias + "/nscd/socket"},
		{"from the working directory", "/run/nscd", "socket"},
		{"by an inherited directory", "/", "/proc/self/fd/3/nscd/socket"},
		{"by an inherited directory, as it is", "/", "/proc/self/fd/4/socket"},
	} {
		for _, inside := range []bool{false, true} {
			cmd := w.plain("python3", "-c", attempt)
			if inside {
				cmd = w.in(t, conf{}, "python3", "-c", attempt)
			}
			cmd.Dir = c.dir
			cmd.Stdin = strings.NewReader(c.path + "\n")
			for _, dir := range []string{"/run", "/run/nscd"} {
				f, err := os.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			}
			r := do(t, cmd)
			if out := strings.Contains(r.stdout, "OUT"); out == inside {
				t.Errorf("%s, with adit %v: %s%s", c.name, inside, r.stdout, r.stderr)
			}
		}
	}
}

// A daemon that is started again makes its directory anew, and with the old one
// the mask is gone; one that is started late finds none.
func TestResolverThatStartsDuringTheRunIsOutOfReach(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	paths := []string{"/run/nscd/socket", resolvedSocket, "/run/avahi-daemon/socket"}
	for _, c := range []struct {
		root bool
		in   []string // what the attempt is made in
		out  []string // what adit is run by
	}{
		{false, nil, nil},
		{true, nil, nil},
		// The keeper is not told of changes.
		{false, nil, []string{"python3", "-c", takeInotify}},
		// As a sandbox has it: a mount namespace inside that follows ours.
		{false, []string{"unshare", "-Urm", "--propagation", "slave"}, nil},
		{true, []string{"unshare", "-m", "--propagation", "slave"}, nil},
	} {
		root := c.root
		if (root || c.out != nil) && !lab.AsRoot() {
			continue
		}
		suite.Need(t, "unshare")
		for _, path := range paths {
			listenAt(t, path)
		}
		cmd := w.in(t, conf{}, append(c.in, "python3", "-c", attempt)...)
		if root {
			cmd = w.Root().Command(w.adit, cmd.Args[1:]...)
		}
		if c.out != nil {
			cmd = w.plain(append(c.out, cmd.Args...)...)
		}
		s := startStream(t, cmd)
		reached := func(path string) bool {
			s.send(path + "\n")
			line, _ := s.next()
			if line != "OUT" && !strings.HasPrefix(line, "held") {
				t.Fatalf("%s: the program says %q", path, line)
			}
			return line == "OUT"
		}
		try := func(when, path string) {
			t.Helper()
			// The keeper needs a moment, longer on a busy machine; after that every
			// attempt must fail. That it has not masked yet cannot be seen from
			// outside but by trying.
			if !settle(20*time.Second, func() bool { return !reached(path) }) {
				t.Errorf("%s, as root %v, in %v: %s stays within reach", when, root, c.in, path)
				return
			}
			for range 20 {
				if reached(path) {
					t.Errorf("%s, as root %v, in %v: %s is within reach again", when, root, c.in, path)
					return
				}
			}
		}
		for _, path := range paths {
			try("at first", path)
			listenAt(t, path)
			try("started again", path)
		}
		listenAt(t, "/run/nsncd/socket")
		try("started late", "/run/nsncd/socket")
		// All at once, and nobody looks at one before the others have started.
		for _, path := range paths {
			listenAt(t, path)
		}
		for _, path := range paths {
			try("all started again", path)
		}
		for _, path := range append(paths, "/run/nsncd/socket") {
			if reached(path) {
				t.Errorf("in the end, as root %v, in %v: %s is within reach again", root, c.in, path)
			}
		}
		s.in.Close()
		s.wantEnd(0)
	}
}

// takeInotify takes all inotify instances that the user may have, and runs what
// follows.
const takeInotify = `
import ctypes, subprocess, sys
libc = ctypes.CDLL(None)
while libc.inotify_init1(0o2000000) >= 0: pass
sys.exit(subprocess.call(sys.argv[1:]))
`

// The kernel would ask for the name, by a helper of its own that lives outside
// of every namespace (keyrings(7), request-key(8)).
func TestNoNameIsAskedByAKey(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	const ask = `
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
nr = {"x86_64": 249, "aarch64": 218, "riscv64": 218}[platform.machine()]
libc.syscall(nr, b"dns_resolver", b"web.test", b"", 0)
print(errno.errorcode[ctypes.get_errno()])
`
	without := strings.TrimSpace(wantOK(t, w.plain("python3", "-c", ask)))
	if without == "ENOKEY" {
		t.Logf("without adit the kernel says ENOKEY as well: it has no helper and no such keys")
	}
	wantStdout(t, w.in(t, conf{}, "python3", "-c", ask), "ENOKEY\n")
}

// neighbour is a program that listens, or connects, on its own 127.0.0.1: each line
// that it reads is what to do, and a port.
const neighbour = `
import socket, sys
for line in sys.stdin:
    what, port = line.split()
    s = socket.socket()
    try:
        if what == "listen":
            s.bind(("127.0.0.1", int(port)))
            s.listen()
            s.close()
        else:
            s.settimeout(5)
            s.connect(("127.0.0.1", int(port)))
        print("OUT", flush=True)
    except OSError as e:
        print("held", e.strerror, flush=True)
`

// Where the command has had a listener on its 127.0.0.1, the host may have one later
// that is for every address: it is not the command's.
func TestServiceOfTheHostIsNotTakenForTheCommandsOwn(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	for _, mode := range []string{"", "namespace", "seccomp", "preload"} {
		cmd := w.plain("python3", "-c", neighbour)
		if mode != "" {
			cmd = w.run("--mode="+mode, "-c", conf{}.write(t, w), "--", "python3", "-c", neighbour)
		}
		s := startStream(t, cmd)
		says := func(what string, port int) string {
			s.send(fmt.Sprintln(what, port))
			line, ok := s.next()
			if !ok {
				t.Fatalf("mode %q: the program has ended\n%s", mode, s.said())
			}
			return line
		}
		free, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := free.Addr().(*net.TCPAddr).Port
		free.Close()
		if got := says("listen", port); got != "OUT" {
			t.Errorf("mode %q: the program cannot listen: %s", mode, got)
		}
		late, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if errors.Is(err, unix.EADDRINUSE) && (mode == "seccomp" || mode == "preload") {
			// The port is kept from the host for as long as the run lasts.
			if got := says("connect", port); got == "OUT" {
				t.Errorf("mode %q: connected where nobody listens", mode)
			}
			s.in.Close()
			s.wantEnd(0)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := says("connect", port); (got == "OUT") != (mode == "") {
			t.Errorf("mode %q: a service of the host's that has started since: %s", mode, got)
		}
		late.Close()
		s.in.Close()
		s.wantEnd(0)
	}
}
