package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/hostile"

	"golang.org/x/sys/unix"
)

// The hostile program: the list of package hostile, inside the tunnel and, as
// the negative control, without it, as whoever may run it.

// attempt runs the named attempts by cmd and returns what they said.
func attemptBy(t *testing.T, h *hostile.Host, cmd *exec.Cmd) []hostile.Result {
	t.Helper()
	cmd.ExtraFiles = h.Inherit()
	r := do(t, cmd)
	mode, results := hostile.Read([]byte(r.stdout))
	if mode != h.World.Mode {
		t.Errorf("the command was in mode %q, want %q", mode, h.World.Mode)
	}
	if r.stderr != "" {
		t.Logf("stderr: %s", r.stderr)
	}
	return results
}

// inside returns the hidden command for the named attempts.
func insideArgs(t *testing.T, w *world, h *hostile.Host, names ...string) []string {
	t.Helper()
	text, err := json.Marshal(h.World)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{w.adit, hostile.InsideWord, string(text)}, names...)
}

// pick returns the attempts that are made in a mode and that good says.
func pick(mode string, good func(*hostile.Attempt) bool) (list []*hostile.Attempt, names []string) {
	for _, a := range hostile.All() {
		if a.In(mode) && good(a) {
			list, names = append(list, a), append(names, a.Name)
		}
	}
	return list, names
}

// isOpen reports whether an attempt gets out on purpose in this surrounding.
func (s surrounding) isOpen(a *hostile.Attempt) bool { return a.Expect[s.in()].Kind == hostile.Open }

// mustTunnel are attempts of which something has to go into the tunnel, by mode: a
// list of which nothing gets anywhere would hold as well.
var mustTunnel = map[string][]string{
	hostile.Namespace: {"udp4", "udp6", "tcp4", "tcp6", "udp-sendmmsg", "splice", "ping4", "ping6", "dns-host-udp", "int80-udp", "unspec4", "handed-udp"},
	hostile.Seccomp: {"udp4", "udp6", "udp-mapped", "udp-connected", "udp-sendmmsg", "udp-threads", "tcp4", "tcp6", "tcp-mapped", "splice",
		"unspec4", "handed-udp", "handed-tcp", "thread-before-exec", "libc-udp", "libc-tcp", "libc-names", "static-udp", "static-tcp"},
	hostile.Preload: {"libc-tcp", "libc-names"},
}

// pingForAll lets everybody send echo requests without privilege, as most
// distributions do.
func pingForAll(t *testing.T) {
	t.Helper()
	const path = "/proc/sys/net/ipv4/ping_group_range"
	before, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte("0 2147483647"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(path, before, 0) })
}

// TestHostileProgramDoesNotGetOut: everything on the list, and nothing is seen on
// any interface of the host but the tunnel.
func TestHostileProgramDoesNotGetOut(t *testing.T) {
	eachSurrounding(t, append(moreSurroundings, everywhere()...), func(t *testing.T, w *world, s surrounding) {
		pingForAll(t)
		list, names := pick(s.in(), func(a *hostile.Attempt) bool { return !s.isOpen(a) && !a.Alone && !(a.C && w.cProgram(t) == "") })
		h := w.hostileWatch(t, s, s.in())
		silent := w.wantSilence(t, s)
		capture := filepath.Join(w.User.Temp, "inner.pcap")
		t.Cleanup(func() { os.Remove(capture) })
		results := attemptBy(t, h, s.run(t, w, h, []string{"--pcap", "inner=" + capture}, names...))
		through, err := h.World.Through(capture)
		if err != nil {
			t.Error(err)
		}
		// Nothing that is seen outside is excused: the tunnel's other end sends
		// nothing back here.
		rows := hostile.Judge(s.in(), list, results, h.Close(), nil)
		wantHeld(t, h, rows)
		silent(through)
		tunnelled := make(map[int]bool)
		for m := range through {
			tunnelled[m.ID] = true
		}
		must := mustTunnel[s.in()]
		if s.conf.allowed != "" {
			must = nil // to them it is unreachable
		}
		for _, name := range must {
			if a := hostile.Find(name); slices.Contains(names, name) && !tunnelled[a.ID()] && !(strings.HasPrefix(name, "int80") && a.Control == hostile.Nobody) {
				t.Errorf("%s: it did not go into the tunnel; it says %v", name, rows[slices.Index(names, name)].Result)
			}
		}
		t.Logf("%d attempts: %d held, %d not there on this machine; %d of them went through the tunnel",
			len(rows), hostile.Count(rows, hostile.Held), hostile.Count(rows, hostile.Absent), len(tunnelled))
	})
}

// wantSilence lets the oracle judge all packets of the host, until the function
// that it returns is called: only the tunnel may be seen, and nobody may ask the
// host's nameserver but through the tunnel.
func (w *world) wantSilence(t *testing.T, s surrounding) func(through map[hostile.Mark]bool) {
	t.Helper()
	w.hostDNS.Forget()
	o, err := s.oracle()
	if err != nil {
		t.Fatal(err)
	}
	return func(through map[hostile.Mark]bool) {
		t.Helper()
		r, err := o.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Leaks) > 0 {
			t.Errorf("packets of the host that are not the tunnel's:\n%v", r)
		}
		if r.Tunnel == 0 {
			t.Error("the oracle has seen no packet of the tunnel")
		}
		passed := func(question string) bool {
			for m := range through {
				if strings.HasPrefix(question, m.Key+".") {
					return true
				}
			}
			return false
		}
		if asked := slices.DeleteFunc(w.hostDNS.Asked(), passed); len(asked) > 0 {
			t.Errorf("the host's nameserver was asked for %q", asked)
		}
	}
}

// wantHeld fails for each row that is not as it should be.
func wantHeld(t *testing.T, h *hostile.Host, rows []hostile.Row) {
	t.Helper()
	for _, r := range rows {
		if r.Verdict != hostile.Held && r.Verdict != hostile.Absent {
			t.Errorf("%s (%s): %s, want %v; it says %v %q, seen at %v", r.Attempt.Name, r.Attempt.Does, r.Verdict, r.Expected, r.Result, r.Result.Text, r.Seen)
		}
	}
	if n := h.Lost(); n > 0 {
		t.Errorf("%d packets were not looked at", n)
	}
}

// Attempts that end adit have a run each, with a key of its own, so that all can
// be at once: they wait more than they work.
func TestHostileProgramDoesNotGetOutByEndingAdit(t *testing.T) {
	eachSurrounding(t, everywhere(), func(t *testing.T, w *world, s surrounding) {
		list, names := pick(s.in(), func(a *hostile.Attempt) bool { return a.Alone })
		h := w.hostileWatch(t, s, s.in())
		silent := w.wantSilence(t, s)
		var (
			mu      sync.Mutex // guards both
			results []hostile.Result
			through = make(map[hostile.Mark]bool)
		)
		captureOf := func(name string) string { return filepath.Join(w.User.Temp, "inner-"+name+".pcap") }
		t.Run("at once", func(together *testing.T) {
			for i, name := range names {
				t.Cleanup(func() { os.Remove(captureOf(name)) })
				s.conf.client = aloneClient + i
				cmd := s.run(t, w, h, []string{"--stop-timeout", "2s", "--pcap", "inner=" + captureOf(name)}, name)
				together.Run(name, func(t *testing.T) {
					t.Parallel()
					said := attemptBy(t, h, cmd)
					mu.Lock()
					defer mu.Unlock()
					results = append(results, said...)
				})
			}
		})
		w.untilAlone(t)
		for _, name := range names {
			some, err := h.World.Through(captureOf(name))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			maps.Copy(through, some)
		}
		// As above nothing is excused; that it was made is seen in the tunnel.
		seen := h.Close()
		for _, one := range seen {
			if one.Counts(s.in()) {
				t.Errorf("%s: seen at %s", one.Key, one.Where)
			}
		}
		rows := hostile.Judge(s.in(), list, results, seen, through)
		wantHeld(t, h, rows)
		for _, r := range rows {
			if r.Verdict == hostile.Absent {
				t.Errorf("%s: %v", r.Attempt.Name, r.Result)
			}
		}
		silent(through)
		t.Logf("%d attempts: %d held", len(rows), hostile.Count(rows, hostile.Held))
	})
}

// untilAlone waits until what a run has left behind is gone: an attempt goes on
// when adit has been killed.
func (w *world) untilAlone(t *testing.T) {
	t.Helper()
	if !settle(30*time.Second, func() bool {
		for _, p := range lab.Descendants(os.Getpid()) {
			if p.State != 'Z' && p.PID != w.peer.PID() && !strings.Contains(p.Command, hostile.VictimWord) {
				return false
			}
			if p.State == 'Z' && p.Parent == os.Getpid() {
				unix.Wait4(p.PID, nil, unix.WNOHANG, nil)
			}
		}
		return true
	}) {
		t.Errorf("still there: %v", lab.Descendants(os.Getpid()))
	}
}

// What is open on purpose is open, or the documents lie. Root of a container may
// not look into processes that have more than it has left: what is open to an
// ordinary user is enough.
func TestWhatIsOpenOnPurposeIsOpen(t *testing.T) {
	eachSurrounding(t, everywhere(), func(t *testing.T, w *world, s surrounding) {
		list, names := pick(s.in(), s.isOpen)
		h := w.hostileWatch(t, s, s.in())
		results := attemptBy(t, h, s.run(t, w, h, nil, names...))
		for _, r := range hostile.Judge(s.in(), list, results, h.Close(), nil) {
			switch {
			case r.Verdict == hostile.OpenDoor:
			case r.Verdict == hostile.Held && s.mode != "" && s.who == hostile.Caps && r.Attempt.Category == "processes":
			case r.Verdict == hostile.Held && s.confine != nil: // the container's filter refuses more
			default:
				t.Errorf("%s (%s): %s; it says %v", r.Attempt.Name, r.Attempt.Does, r.Verdict, r.Result)
			}
		}
		t.Logf("%d attempts are open on purpose", len(list))
	})
}

// TestWatchSeesTheHostileProgramWithoutAdit is the negative control: the same
// attempts without adit, and the same watch.
func TestWatchSeesTheHostileProgramWithoutAdit(t *testing.T) {
	eachSurrounding(t, surroundings, func(t *testing.T, w *world, s surrounding) {
		pingForAll(t)
		list, names := pick("", func(a *hostile.Attempt) bool {
			return a.Control&s.who != 0 && !(a.C && w.cProgram(t) == "") && (a.Name != "tun-owned" || lab.AsRoot())
		})
		h := w.hostileWatch(t, s, "")
		o, err := oracle.Watch(endpoints)
		if err != nil {
			t.Fatal(err)
		}
		results := attemptBy(t, h, s.command(t, w, insideArgs(t, w, h, names...)...))
		rows := hostile.Judge("", list, results, h.Close(), nil)
		report, err := o.Stop()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, r := range rows {
			if r.Verdict == hostile.Leaked {
				seen++
				continue
			}
			t.Errorf("%s (%s): the watch does not see it without adit; it says %v %q", r.Attempt.Name, r.Attempt.Does, r.Result, r.Result.Text)
		}
		if len(report.Leaks) < 25 {
			t.Errorf("the oracle has seen %d packets, want at least 25", len(report.Leaks))
		}
		if seen < 25 {
			t.Errorf("the control sees %d attempts, want at least 25", seen)
		}
		t.Logf("the control sees %d of %d attempts", seen, len(rows))
		untilQuiet(t) // groups are left
	})
}
