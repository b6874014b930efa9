package e2e

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"adit/e2e/lab"
	"adit/hostile"

	"golang.org/x/sys/unix"
)

// leaktest returns adit leaktest of whoever runs the list.
func (w *world) leaktest(t *testing.T, s surrounding, args ...string) *exec.Cmd {
	t.Helper()
	return s.command(t, w, append([]string{w.adit, "leaktest"}, args...)...)
}

// All is well here, and adit leaktest says so: as whoever it is run by, and
// without a packet that leaves the host but by the tunnel.
func TestLeaktestFindsNoLeak(t *testing.T) {
	// The same list is tried by everybody in TestHostileProgramDoesNotGetOut.
	list := slices.DeleteFunc(everywhere(), func(s surrounding) bool {
		return s.mode != "" && (s.who != hostile.User || s.confine != nil)
	})
	eachSurrounding(t, list, func(t *testing.T, w *world, s surrounding) {
		file := conf{}.write(t, w)
		o, err := s.oracle()
		if err != nil {
			t.Fatal(err)
		}
		r := do(t, w.leaktest(t, s, "--mode="+s.in(), "-c", file))
		report, err := o.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if r.code != 0 || r.stderr != "" || strings.Contains(r.stdout, "\notherwise: ") || strings.Contains(r.stdout, "in the tunnel and outside") {
			t.Errorf("status %d, want 0\n%s\n%s", r.code, r.stdout, r.stderr)
		}
		for _, l := range report.Leaks {
			// What is open on purpose goes from the host to the host.
			if !strings.HasPrefix(l, "lo ") {
				t.Errorf("a packet that is not the tunnel's: %s", l)
			}
		}
		lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
		t.Log(lines[len(lines)-2])
		t.Log(lines[len(lines)-1])
		if !strings.HasPrefix(lines[len(lines)-1], "mode "+s.in()+", ") {
			t.Errorf("the report is not of mode %s", s.in())
		}
		captured := strings.Contains(r.stdout, "a capture on every interface of the host")
		if captured != (s.who != hostile.User) {
			t.Errorf("captured %v: %s", captured, lines[len(lines)-2])
		}
		w.untilAlone(t)
	})
}

func TestLeaktestTakesTheConfigurationFromStandardInput(t *testing.T) {
	w := enter(t)
	cmd := w.plain(w.adit, "leaktest", "-c", "-", "--json")
	cmd.Stdin = strings.NewReader(conf{}.text(w))
	r := do(t, cmd)
	var got struct {
		Counts   map[string]int
		Attempts []struct{ Name, Verdict string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 {
		t.Fatalf("status %d, %v\n%s\n%s", r.code, err, r.stdout, r.stderr)
	}
	if len(got.Attempts) < 150 || got.Counts["open"] < 3 || got.Counts["leaked"] != 0 {
		t.Errorf("got %v of %d attempts", got.Counts, len(got.Attempts))
	}
	w.untilAlone(t)
}

// A tunnel that cannot be used is no tunnel that holds.
func TestLeaktestDoesNotPassWhatItCannotTest(t *testing.T) {
	w := enter(t)
	w.killPeer(t)
	file := conf{}.write(t, w)
	r := do(t, w.plain(w.adit, "leaktest", "-c", file, "--wait-timeout", "1s"))
	if r.code != 3 || r.stdout != "" || !strings.HasPrefix(r.stderr, "adit: error: ") {
		t.Errorf("got status %d and %q, want 3 and an error\n%s", r.code, r.stdout, r.stderr)
	}
	r = do(t, w.plain(w.adit, "leaktest", "-c", w.file(t, "bad.conf", "junk", 0o600)))
	if r.code != 3 || r.stdout != "" || !strings.HasPrefix(r.stderr, "adit: error: ") {
		t.Errorf("a bad configuration: got status %d and %q, want 3 and an error\n%s", r.code, r.stdout, r.stderr)
	}
}

// Interrupted, it ends what it has started and takes its files along: they hold
// what went into the tunnel.
func TestLeaktestLeavesNothingWhenItIsInterrupted(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	dir := filepath.Join(w.User.Home, "interrupted")
	if err := errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM} {
		cmd := w.plain(w.adit, "leaktest", "-c", file)
		cmd.Env = append(cmd.Env, "TMPDIR="+dir)
		s := startStream(t, cmd)
		captures := func() []string {
			list, _ := filepath.Glob(dir + "/*/inner.pcap")
			return list
		}
		if !settle(deadline/3, func() bool { return len(captures()) > 0 }) {
			t.Errorf("nothing is captured\n%s", s.said())
		}
		s.signal(sig)
		if code, got, _ := s.end(); got != sig || strings.Contains(s.said(), "adit: error") {
			t.Errorf("got status %d, signal %v, want %v\n%s", code, got, sig, s.said())
		}
		if left, _ := filepath.Glob(dir + "/*"); left != nil {
			t.Errorf("%v: left %v", sig, left)
		}
		w.untilAlone(t)
	}
}

// The same without adit around it: the watch must see a leak, with a capture and
// by the listeners alone.
func TestLeaktestSeesLeaks(t *testing.T) {
	w := enter(t)
	if err := os.Chmod(w.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	trial := hostile.Trial{Mode: "namespace", Exe: w.adit}
	r, err := trial.Do(t.Context())
	if err != nil || r.Failed != "" {
		t.Fatalf("%v %v", err, r)
	}
	leaked := hostile.Count(r.Rows, hostile.Leaked)
	t.Logf("%d of %d attempts leaked without adit, captured: %v", leaked, len(r.Rows), r.NoEyes == nil)
	if leaked < 25 {
		t.Errorf("%d attempts leaked without adit, want at least 25", leaked)
	}
	byListener := 0
	for _, row := range r.Rows {
		for _, where := range row.Seen {
			if strings.Contains(where, lab.HostV4.Addr().String()) || strings.Contains(where, lab.HostV6.Addr().String()) {
				byListener++
				break
			}
		}
		if row.Verdict == hostile.Leaked && row.Attempt.Control == hostile.Nobody {
			t.Errorf("%s leaked, and is not of the control", row.Attempt.Name)
		}
	}
	if byListener < 25 {
		t.Errorf("the listeners have seen %d attempts, want at least 25", byListener)
	}
	untilQuiet(t)
}

// A gateway of the tunnel on this very machine sends on what went through the
// tunnel: that is no leak, though it is seen where one would be.
func TestLeaktestKnowsAGatewayFromALeak(t *testing.T) {
	eachSurrounding(t, surroundings, func(t *testing.T, w *world, s surrounding) {
		listen := netip.AddrPortFrom(lab.HostV4.Addr(), 51999)
		g := startStream(t, s.command(t, w, w.adit, "serve", "--listen", listen.String(), "--new-peer", "here"))
		var file []string
		g.until("the end of a configuration", func(l string) bool {
			file = append(file, l)
			return strings.HasPrefix(l, "AllowedIPs")
		})
		path := w.file(t, "here.conf", strings.Join(file, "\n")+"\n", 0o644)
		r := do(t, w.leaktest(t, s, "-c", path))
		lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
		// What it took for the gateway's doing, it says.
		if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "packets were seen in the tunnel and outside") {
			t.Errorf("status %d, want 0\n%s\n%s", r.code, r.stdout, r.stderr)
		}
		t.Log(lines[len(lines)-1])
		g.signal(unix.SIGTERM)
		g.end()
		w.untilAlone(t)
	})
}
