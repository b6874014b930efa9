package preload

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// libcs are the compilers, each with its libc, that programs are made with.
var libcs = []string{"cc", "musl-gcc"}

// probes are the built test programs, by compiler.
var probes = struct {
	sync.Mutex
	dir  string
	path map[string]string
}{path: make(map[string]string)}

// probeOf builds testdata/probe.c once per compiler.
func probeOf(t testing.TB, cc string) string {
	t.Helper()
	if _, err := exec.LookPath(cc); err != nil {
		t.Skip(err)
	}
	probes.Lock()
	defer probes.Unlock()
	if p := probes.path[cc]; p != "" {
		return p
	}
	if probes.dir == "" {
		dir, err := os.MkdirTemp("", "adit-probes")
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(dir, 0o755)
		probes.dir = dir
	}
	out := filepath.Join(probes.dir, "probe-"+cc)
	text, err := exec.Command(cc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o", out, "testdata/probe.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	probes.path[cc] = out
	return out
}

// A rig runs programs with the shim, under the guard, in a network.
type rig struct {
	net    *testNet
	server *Server
	shim   string

	mu   sync.Mutex
	root int // pid of the last program
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if _, ok := Shim(runtime.GOARCH); !ok {
		t.Skip(ErrNoShim)
	}
	r := &rig{net: newTestNet(t)}
	r.server = newTestServer(t, r.net, func(int) bool { return true })
	dir, err := os.MkdirTemp("", "adit-shim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	if r.shim, err = WriteShim(dir, r.server.Name()); err != nil {
		t.Fatal(err)
	}
	return r
}

// patience is how long a program may take.
const patience = 30 * time.Second

// run runs a program and returns what it printed.
func (r *rig) run(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := guardedCommand(argv...)
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+r.shim)
	return output(t, cmd)
}

// output runs a command and returns what it printed.
func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", strings.Join(cmd.Args[1:], " "), err)
	}
	return out.String()
}

// wantOutput compares line by line.
func wantOutput(t *testing.T, what, got, want string) {
	t.Helper()
	g, w := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	for i := range max(len(g), len(w)) {
		var gl, wl string
		if i < len(g) {
			gl = strings.TrimSpace(g[i])
		}
		if i < len(w) {
			wl = strings.TrimSpace(w[i])
		}
		if gl != wl {
			t.Errorf("%s, line %d: got %q, want %q", what, i+1, gl, wl)
		}
	}
}

// forEachLibc runs a test with the test program of each libc.
func forEachLibc(t *testing.T, f func(t *testing.T, r *rig, probe string)) {
	for _, cc := range libcs {
		t.Run(cc, func(t *testing.T) {
			probe := probeOf(t, cc)
			f(t, newRig(t), probe)
		})
	}
}

func TestProgramsConnectThroughTheTunnel(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		for _, to := range []string{"10.9.0.1", "fd09::1", "www.test"} {
			peer := to
			if to == "www.test" {
				peer = "10.9.0.1"
			}
			local := "10.9.0.2"
			if peer == "fd09::1" {
				local = "fd09::2"
			}
			wantOutput(t, "echo by "+to, r.run(t, probe, "echo", to, "7"), "peer "+peer+" 7\nlocal "+local+"\nread hello")
		}
	})
}

func TestErrnosAreThoseOfTheTunnel(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "refused", r.run(t, probe, "echo", "10.9.0.1", "1"), "connect ECONNREFUSED")
		wantOutput(t, "no route", r.run(t, probe, "echo", "192.0.2.1", "7"), "connect ENETUNREACH")
		wantOutput(t, "no name", r.run(t, probe, "echo", "nowhere.test", "7"), "getaddrinfo -2")
	})
}

func TestEpollHearsOfAConnectionThatItWatchedBefore(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "connected", r.run(t, probe, "nonblock", "10.9.0.1", "7"),
			"connect EINPROGRESS\nevents OUT\nSO_ERROR 0\nread hello")
		wantOutput(t, "refused", r.run(t, probe, "nonblock", "10.9.0.1", "1"),
			"connect EINPROGRESS\nevents OUT ERR HUP\nSO_ERROR ECONNREFUSED\nSO_ERROR 0")
	})
}

func TestServersHearTheirOwnProgram(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		want := "bound 127.0.0.1 8080\naccepted from 127.0.0.1\nthe same port\npeer 127.0.0.1 8080\nread hello"
		wantOutput(t, "IPv4", r.run(t, probe, "serve", "127.0.0.1", "8080"), want)
	})
}

func TestSignalsAndThreads(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "a signal ends connect", r.run(t, probe, "signal", "10.9.0.77", "7"), "handler\nconnect EINTR")
		wantOutput(t, "a thread is cancelled in accept", r.run(t, probe, "cancel"), "cancelled")
		wantOutput(t, "threads, fork, vfork, closed descriptors", r.run(t, probe, "crowd", "10.9.0.1", "7"), "threads 32\nfork 0\nvfork 0\nclosed 0")
	})
}

func TestDescriptorsAndErrnoAreAsEver(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "small things", r.run(t, probe, "small", "10.9.0.1", "7"), `
			socket is the lowest
			cloexec 1 nonblock 1
			cloexec 0 nonblock 0
			errno is kept
			connect of none EBADF
			connect of a pipe ENOTSOCK
			connect to nowhere EFAULT
			udp EACCES
			raw EPERM
			sctp EPROTONOSUPPORT
			family 38 EAFNOSUPPORT
			unix pair 0
			by number 0
			fast open 5
			read hello`)
	})
}
