package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// The caller is root, as in a CI container.

// enterAsRoot returns a function that makes "adit run" of root's.
func enterAsRoot(t *testing.T) (*world, func(t *testing.T, argv ...string) *exec.Cmd) {
	t.Helper()
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	return w, func(t *testing.T, argv ...string) *exec.Cmd {
		t.Helper()
		return w.Root().Command(w.adit, append([]string{"run", "-c", conf{}.write(t, w), "--"}, argv...)...)
	}
}

func TestProgramsWorkForRoot(t *testing.T) {
	w, run := enterAsRoot(t)
	for _, p := range matrix {
		t.Run(p.name, func(t *testing.T) {
			suite.Need(t, p.needs...)
			if strings.Contains(p.name, "ssh") {
				os.Chown(w.sshKey, 0, 0)
				t.Cleanup(func() { os.Chown(w.sshKey, w.User.UID, w.User.GID) })
			}
			argv := p.argv(t, w)
			w.watch(t)
			a := clientAddresses(someClient)
			p.wantAs(t, wantOK(t, run(t, argv...)), a[0].Addr().String(), a[1].Addr().String())
		})
	}
}

func TestRootIsRootOverFilesAndNotOverTheNetwork(t *testing.T) {
	w, run := enterAsRoot(t)
	suite.Need(t, "ip", "setpriv", "mount")
	w.watch(t)
	file := filepath.Join(w.Dir, "of-root")
	t.Cleanup(func() { os.Remove(file); os.Remove("/etc/made-inside") })
	for _, c := range []struct{ name, script, want string }{
		{"its uid", "id -u; id -g", "0\n0\n"},
		{"chown", "touch " + file + "; chown 4321:4321 " + file + "; stat -c '%u %g' " + file, "4321 4321\n"},
		{"setuid", "setpriv --reuid 4321 --regid 4321 --clear-groups id -u", "4321\n"},
		{"files in /etc last", "echo lasts >/etc/made-inside && cat /etc/made-inside", "lasts\n"},
		{"its processes", "kill -0 $$ && echo yes", "yes\n"},
		{"no power over links", "ip link set lo down 2>/dev/null || echo no", "no\n"},
		{"no power over routes", "ip route flush table main 2>/dev/null || echo no", "no\n"},
		{"no new namespaces that have it", "unshare -n true && unshare -Ur ip link set lo down 2>/dev/null || echo no", "no\n"},
		{"no host network", "nsenter -t 1 -n true 2>/dev/null || echo no", "no\n"},
		{"no network of the engine", "nsenter -t $PPID -n true 2>/dev/null || echo no", "no\n"},
		{"no uncovering", "umount /etc/resolv.conf 2>/dev/null || echo no", "no\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := do(t, run(t, "sh", "-c", c.script)); r.stdout != c.want {
				t.Errorf("got %q (status %d), want %q\n%s", r.stdout, r.code, c.want, r.stderr)
			}
		})
	}
	if b, err := os.ReadFile("/etc/made-inside"); err != nil || string(b) != "lasts\n" {
		t.Errorf("what root wrote to /etc did not last: %q, %v", b, err)
	}
}

func TestExitStatusForRoot(t *testing.T) {
	_, run := enterAsRoot(t)
	if r := do(t, run(t, "sh", "-c", "exit 42")); r.code != 42 {
		t.Errorf("got status %d, want 42\n%s", r.code, r.stderr)
	}
	if r := do(t, run(t, "sh", "-c", "kill -9 $$")); r.signal != 9 {
		t.Errorf("got status %d signal %v, want SIGKILL\n%s", r.code, r.signal, r.stderr)
	}
}

func TestNamesForRootSurviveAnUpdateOfResolvConf(t *testing.T) {
	w, run := enterAsRoot(t)
	w.watch(t)
	s := startStream(t, run(t, "sh", "-c", "while read x; do getent ahosts web.test | head -n 1; echo looked; done"))
	s.send("\n")
	s.want("looked")
	setResolvConf(t, func(path string) error { return os.WriteFile(path, []byte("nameserver 127.0.0.53\n"), 0o644) })
	s.send("\n")
	s.until("an address of the service", func(l string) bool {
		return strings.HasPrefix(l, "fd09::1 ") || strings.HasPrefix(l, "10.9.0.1 ")
	})
	s.in.Close()
	s.end()
}

func TestRootLosesItsNetworkWhenTheEngineIsKilled(t *testing.T) {
	w, run := enterAsRoot(t)
	w.watch(t)
	wantOK(t, run(t, "true")) // makes the folder of locks, which stays
	file := conf{}.write(t, w)
	before := w.Snapshot()
	cmd := w.Root().Command(w.adit, "run", "--stop-timeout", "100ms", "-c", file, "--", "sh", "-c", stubborn, "sh", w.probe)
	s := startStream(t, cmd)
	s.want("ok")
	kill(t, engineOf(t, s.cmd.Process.Pid))
	s.end()
	w.wantNothingSince(t, before)
}

// --as-root shows an ordinary user uid 0, and nothing more.
func TestAsRootIsOnlyLooks(t *testing.T) {
	w := enter(t)
	w.watch(t)
	file := conf{}.write(t, w)
	got := wantOK(t, w.run("--as-root", "-c", file, "--", "sh", "-c", `id -u; "$1" get "$2"; ip link set lo down 2>/dev/null || echo no`, "sh", w.probe, pages[0]))
	if got != "0\n10.9.0.2\nno\n" {
		t.Errorf("got %q", got)
	}
}
