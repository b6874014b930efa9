package e2e

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
)

// settle waits until good returns true, and reports whether it did in time. It
// looks again and again: for processes that are not our children there is no
// event to wait for.
func settle(within time.Duration, good func() bool) bool {
	for end := time.Now().Add(within); ; {
		if good() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		<-time.After(5 * time.Millisecond)
	}
}

// wantNobody fails if a process is left on the host, a moment from now, and ends
// it: the last step of every test.
func (w *world) wantNobody(t *testing.T) {
	t.Helper()
	var left []lab.Process
	if settle(20*time.Second, func() bool {
		left = slices.DeleteFunc(lab.Descendants(os.Getpid()), func(p lab.Process) bool {
			if p.State == 'Z' && p.Parent == os.Getpid() {
				syscall.Wait4(p.PID, nil, syscall.WNOHANG, nil) // an orphan that we adopted
			}
			return p.State == 'Z' || w.peer != nil && p.PID == w.peer.PID()
		})
		return len(left) == 0
	}) {
		return
	}
	for _, p := range left {
		t.Errorf("left behind: process %d, child of %d: %s", p.PID, p.Parent, p.Command)
		syscall.Kill(p.PID, syscall.SIGKILL)
	}
}

// wantNothingSince fails if there are more processes, namespaces, mounts,
// interfaces or files than before, a moment from now.
func (w *world) wantNothingSince(t *testing.T, before lab.Snapshot) {
	t.Helper()
	var more []string
	if !settle(20*time.Second, func() bool {
		more = w.Snapshot().Since(before)
		more = slices.DeleteFunc(more, func(s string) bool { return w.mayStay(s) })
		return len(more) == 0
	}) {
		t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
	}
}

// mayStay reports whether a line of a snapshot is something that adit keeps on
// purpose: its folder of locks and time stamps, one small file a key.
func (w *world) mayStay(line string) bool {
	dir := "file " + w.User.Runtime + "/adit"
	return line == dir || strings.HasPrefix(line, dir+"/") && !strings.Contains(line, "tmp")
}

// untilItTries waits until adit has its UDP socket: it is trying to reach
// its peer.
func (w *world) untilItTries(t *testing.T, s *stream) {
	t.Helper()
	if !settle(10*time.Second, func() bool { return oracle.UDPSockets() > 0 }) {
		t.Fatalf("%v has opened no UDP socket\n%s", s.cmd.Args, s.said())
	}
}

func TestTwoHundredRunsLeaveNothing(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true")) // what stays is made now
	before := w.Snapshot()
	begin := time.Now()
	for i := range 200 {
		r := do(t, w.run("-c", file, "--", "true"))
		if r.code != 0 || r.stderr != "" {
			t.Fatalf("run %d: status %d\n%s", i, r.code, r.stderr)
		}
		// Responders drop an initiation that follows the last within 20 ms
		// (§5.1): whoever does not mind waits for rekeyTimeout, 5 s.
		if r.took > 2*time.Second {
			t.Errorf("run %d took %v", i, r.took)
		}
	}
	t.Logf("200 runs took %v", time.Since(begin).Round(time.Millisecond))
	if more := w.Snapshot().Since(before); len(more) > 0 && !settle(5*time.Second, func() bool {
		more = w.Snapshot().Since(before)
		return len(more) == 0
	}) {
		t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
	}
}

// TestStartIsFast: issue 2 allows 60 ms from exec to exit, handshake included.
// The best of three medians counts: the machine has other work.
func TestStartIsFast(t *testing.T) {
	w := enter(t)
	const allowed = 60 * time.Millisecond
	file := conf{}.write(t, w)
	var medians []time.Duration
	for range 3 {
		var took []time.Duration
		for range 20 {
			r := do(t, w.run("-c", file, "--", "true"))
			if r.code != 0 {
				t.Fatalf("status %d\n%s", r.code, r.stderr)
			}
			took = append(took, r.took)
		}
		slices.Sort(took)
		medians = append(medians, took[len(took)/2])
		if took[len(took)/2] <= allowed {
			break
		}
	}
	t.Logf("medians of 20 runs: %v", medians)
	if best := slices.Min(medians); best > allowed {
		t.Errorf("run -- true takes %v at the median of 20, want at most %v", best, allowed)
	}
}

// Issue 2: the binary is at most 20 MB.
func TestBinaryIsSmall(t *testing.T) {
	w := enter(t)
	const allowed = 20_000_000
	file, err := os.Stat(w.adit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the binary has %.1f MB", float64(file.Size())/1e6)
	if file.Size() > allowed {
		t.Errorf("the binary has %d bytes, want at most %d", file.Size(), allowed)
	}
}
