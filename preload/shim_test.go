package preload

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// libcs are the compilers, each with its libc, that programs are made with.
var libcs = []string{"cc", "musl-gcc"}

// probes are the built test programs, by compiler.
var probes = make(map[string][]byte)

// probeOf returns the path of the test program, built once per compiler.
func probeOf(t testing.TB, cc string) string {
	t.Helper()
	if _, err := exec.LookPath(cc); err != nil {
		t.Skip(err)
	}
	out := filepath.Join(openDir(t), "probe")
	if probes[cc] == nil {
		if text, err := buildProbe(cc, out); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		probes[cc] = b
		return out
	}
	if err := os.WriteFile(out, probes[cc], 0o755); err != nil {
		t.Fatal(err)
	}
	return out
}

// openDir returns a folder that other users can reach too, as that of
// [testing.T.TempDir] cannot be.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "adit-preload")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildProbe makes the test program.
func buildProbe(cc, out string, flags ...string) ([]byte, error) {
	args := append(flags, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o", out,
		"testdata/probe.c", "testdata/probe_names.c", "testdata/probe_guard.c", "testdata/probe_cancel.c", "-lresolv")
	return exec.Command(cc, args...).CombinedOutput()
}

// A rig runs programs with the shim, under the guard, in a network.
type rig struct {
	net    *testNet
	server *Server
	shim   string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if _, ok := Shim(runtime.GOARCH); !ok {
		t.Skip(ErrNoShim)
	}
	r := &rig{net: newTestNet(t)}
	r.server = newTestServer(t, r.net, func(int) bool { return true })
	var err error
	if r.shim, err = WriteShim(openDir(t), r.server.Name()); err != nil {
		t.Fatal(err)
	}
	return r
}

// patience is how long a program may take.
const patience = 2 * time.Minute

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
			"connect EINPROGRESS\nevents OUT ERR HUP\nSO_ERROR ECONNREFUSED")
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
		wantOutput(t, "before connect, and in it", r.run(t, probe, "cancel", "10.9.0.77", "7"), "cancelled, little left\ncancelled, little left")
		wantOutput(t, "threads, fork, vfork, closed descriptors", r.run(t, probe, "crowd", "10.9.0.1", "7"), "threads 32\nfork 0\nvfork 0\nclosed 0")
	})
}

// smallThings is what the test program says of its descriptors and errors.
const smallThings = `
			socket is the lowest
			cloexec 1 nonblock 1
			cloexec 0 nonblock 0
			errno is kept
			connect of none EBADF EBADF listen EBADF
			connect of a pipe ENOTSOCK
			connect to nowhere EFAULT
			udp EACCES
			udp of IPv6 0 bind EINVAL connect EACCES sendto EINVAL
			raw EPERM
			sctp EPROTONOSUPPORT
			family 38 EAFNOSUPPORT
			unix pair 0
			by number 0
			fast open 5
			read hello`

func TestDescriptorsAndErrnoAreAsEver(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "small things", r.run(t, probe, "small", "10.9.0.1", "7"), smallThings)
	})
}

// What files and texts alone decide is the same with the shim and without: the
// program's own libc is the judge, and musl agrees with glibc but for few rows,
// which are not asked.
func TestLocalNamesAreAsWithoutTheShim(t *testing.T) {
	probe := probeOf(t, "cc")
	r := newRig(t)
	plain := exec.Command(probe, "local-names")
	wantOutput(t, "getaddrinfo", r.run(t, probe, "local-names"), output(t, plain))
	for _, at := range []string{"127.0.0.1", "::1"} {
		plain = exec.Command(probe, "names", at, "53")
		wantOutput(t, "getnameinfo of "+at, r.run(t, probe, "names", at, "53"), output(t, plain))
	}
}

func TestMuslsLocalNamesAreGlibcs(t *testing.T) {
	r := newRig(t)
	wantOutput(t, "getaddrinfo", r.run(t, probeOf(t, "musl-gcc"), "local-names"), r.run(t, probeOf(t, "cc"), "local-names"))
}

func TestNamesComeFromTheTunnel(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "gethostbyname", r.run(t, probe, "hosts"), `
			many.test family 2 length 4 10.9.0.11 10.9.0.12 10.9.0.13 and no aliases
			six.test family 10 length 16 fd09::1 and no aliases
			h_errno 1
			short family 2 length 4 10.9.0.1 and no aliases
			127.0.0.1 family 2 length 4 127.0.0.1 and no aliases
			small: ERANGE 1
			large: 0
			four.test family 2 length 4 10.9.0.1 and no aliases
			www.test family 2 length 4 10.9.0.1 and no aliases
			h_errno 1`)
		wantOutput(t, "res_query", r.run(t, probe, "records"), `
			query 1
			count 1
			nowhere -1 1
			nothing -1 4
			search 1
			longer than the room 1
			send 1
			domain 1`)
		wantOutput(t, "getnameinfo", r.run(t, probe, "names", "10.9.0.1", "80"), `
			name 0 www.test http
			name 0 10.9.0.1 80
			name 0 10.9.0.1 80
			name 0 www.test http
			name -12
			name 0  http
			name -6`)
	})
}

func TestWithoutTheBrokerThereIsNoNetwork(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		r.server.Close()
		wantOutput(t, "a name", r.run(t, probe, "echo", "www.test", "7"), "getaddrinfo -3")
		cmd := guardedCommand(probe, "guard")
		wantOutput(t, "no shim", strings.Split(output(t, cmd), "\n")[0], "inet EACCES")
	})
}

func TestLoadingTheShimIsTold(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		select {
		case <-r.server.Loaded():
			t.Fatal("told before anything was started")
		default:
		}
		r.run(t, probe, "cancel")
		select {
		case <-r.server.Loaded():
		case <-time.After(patience):
			t.Error("the program has ended, and adit was not told that it had loaded the shim")
		}
	})
}
