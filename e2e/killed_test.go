package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// stubborn is a command that tries the network again and again, and does not end
// for a TERM. It says when a round begins, as /proc/uptime has it.
const stubborn = `trap '' TERM HUP INT; exec 2>/dev/null; echo up; while :; do read at x </proc/uptime; echo "at $at"; "$1" dial tcp 198.51.100.1:80 0.2; "$1" dial tcp '[2001:db8:51::1]:80' 0.2; "$1" lookup web.test; done`

// engineOf returns the engine of an adit that runs: the front's child.
func engineOf(t *testing.T, front int) int {
	t.Helper()
	for _, p := range lab.Descendants(front) {
		if p.Parent == front {
			return p.PID
		}
	}
	t.Fatal("the front has no child")
	return 0
}

// kill sends SIGKILL.
func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// uptime returns how many seconds the machine is up: /proc/uptime.
func uptime(t *testing.T) (seconds float64) {
	t.Helper()
	b, err := os.ReadFile("/proc/uptime")
	if err == nil {
		_, err = fmt.Sscan(string(b), &seconds)
	}
	if err != nil {
		t.Fatal(err)
	}
	return seconds
}

// TestCommandLosesItsNetworkWhenTheEngineIsKilled: never does it gain the host's.
func TestCommandLosesItsNetworkWhenTheEngineIsKilled(t *testing.T) {
	w := enter(t)
	w.watch(t)
	file := conf{}.write(t, w)
	before := w.Snapshot()
	s := startStream(t, w.run("--stop-timeout", "1s", "-c", file, "--", "sh", "-c", stubborn, "sh", w.probe))
	s.want("ok")
	engine := engineOf(t, s.cmd.Process.Pid)
	kill(t, engine)
	if !settle(deadline/3, func() bool { _, lives := lab.ReadProcess(engine); return !lives }) {
		t.Fatal("the engine does not end")
	}
	killed := uptime(t)
	code, sig, rest := s.end()
	// Rounds that had begun may have succeeded: how many lines those are, the time
	// between a line and the kill says.
	after := false
	for _, l := range rest {
		if at, round := strings.CutPrefix(l, "at "); round {
			began, err := strconv.ParseFloat(at, 64)
			if err != nil {
				t.Fatal(err)
			}
			after = began > killed
		}
		if after && (l == "ok" || l == "10.9.0.1") {
			t.Errorf("a connection or a name succeeded after the engine was killed, at %v: %q", killed, rest)
			break
		}
	}
	if code == 0 || !strings.Contains(s.said(), "adit: error: ") {
		t.Errorf("got status %d (signal %v) and stderr %q, want a failure that is named", code, sig, s.said())
	}
	w.wantNothingSince(t, before)
}

func TestCommandEndsWhenTheFrontIsKilled(t *testing.T) {
	w := enter(t)
	for _, c := range []struct{ name, script string }{
		{"one that ends by TERM", `echo up; while :; do "$1" dial tcp 198.51.100.1:80 0.2; done`},
		{"one that ignores TERM", stubborn},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.watch(t)
			file := conf{}.write(t, w)
			before := w.Snapshot()
			s := startStream(t, w.run("--stop-timeout", "1s", "-c", file, "--", "sh", "-c", c.script, "sh", w.probe))
			s.want("ok")
			s.signal(syscall.SIGKILL)
			if _, sig, _ := s.end(); sig != syscall.SIGKILL {
				t.Errorf("the front died by %v", sig)
			}
			w.wantNothingSince(t, before)
		})
	}
}

func TestCommandThatIsKilledIsReportedAs137(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	before := w.Snapshot()
	s := startStream(t, w.run("-c", file, "--", "sh", "-c", "echo $$; exec cat"))
	var pid int
	line, _ := s.next()
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatal(err)
	}
	kill(t, pid)
	if code, sig, _ := s.end(); sig != syscall.SIGKILL {
		t.Errorf("got status %d signal %v, want SIGKILL", code, sig)
	}
	w.wantNothingSince(t, before)
}

// The engine holds keys: the user's other processes cannot read it.
func TestEngineIsClosedToTheUsersOtherProcesses(t *testing.T) {
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "in this lab all processes are in one user namespace that the tests own")
	}
	s := startStream(t, w.in(t, conf{}, "sh", "-c", "echo up; exec cat"))
	s.want("up")
	engine := engineOf(t, s.cmd.Process.Pid)
	for _, file := range []string{"mem", "environ", "maps", "fd/0", "ns/net"} {
		r := do(t, w.plain("sh", "-c", `cat "$1" >/dev/null`, "sh", fmt.Sprintf("/proc/%d/%s", engine, file)))
		if r.code == 0 {
			t.Errorf("the user can open the engine's %s", file)
		}
	}
	argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", engine))
	if strings.Contains(string(argv), w.clients[someClient].Private) {
		t.Error("the private key is in the engine's arguments")
	}
	s.in.Close()
	s.wantEnd(0)
}
