package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/services"
	"adit/e2e/suite"
)

// withoutTUN runs f on hosts whose /dev/net/tun cannot be used.
func withoutTUN(t *testing.T, f func(t *testing.T)) {
	withVeth(t, f)
	t.Run("closed to the user", func(t *testing.T) { withTUN(t, 0o600, f) })
}

// withVeth runs f on one of them: for what is asked of the device that takes its
// place, and of that alone.
func withVeth(t *testing.T, f func(t *testing.T)) {
	t.Run("absent", func(t *testing.T) { withTUN(t, 0, f) })
}

// withTUN runs f on a host whose /dev/net/tun has that mode; zero is none.
func withTUN(t *testing.T, mode os.FileMode, f func(t *testing.T)) {
	if err := lab.MountTUN(mode); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.UnmountTUN(); err != nil {
			t.Error(err)
		}
	}()
	f(t)
}

func TestProgramsWorkWithoutTUN(t *testing.T) {
	w := enter(t)
	withoutTUN(t, func(t *testing.T) {
		for _, p := range matrix {
			t.Run(p.name, func(t *testing.T) {
				suite.Need(t, p.needs...)
				argv := p.argv(t, w)
				w.watch(t)
				a := clientAddresses(someClient)
				p.wantAs(t, wantOK(t, w.in(t, conf{}, argv...)), a[0].Addr().String(), a[1].Addr().String())
			})
		}
	})
}

func TestTrafficWorksWithoutTUN(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl", "sha256sum")
	withVeth(t, func(t *testing.T) {
		w.watch(t)
		for _, host := range []string{at(lab.ServiceV4), at(lab.ServiceV6)} {
			url := fmt.Sprintf("http://%s/bytes?size=%d&seed=1", host, big)
			wantStdout(t, w.in(t, conf{}, "sh", "-c", `curl -sS "$1" | sha256sum`, "sh", url), services.StreamHash(1, big)+"  -\n")
			small := fmt.Sprintf("http://%s/bytes?size=300000&seed=3", host)
			wantStdout(t, w.in(t, conf{}, w.probe, "parallel", "200", small, services.StreamHash(3, 300_000)), "200\n")
			wantStdout(t, w.in(t, conf{}, w.probe, "udp", host+":7", "1", "1400"), "all back\n")
			wantStdout(t, w.in(t, conf{}, w.probe, "udp", host+":7", "5000", "5000"), "all back\n")
		}
	})
}

// Programs that look for a running interface must find one from the beginning.
func TestDeviceIsUpWhenTheCommandStarts(t *testing.T) {
	w := enter(t)
	withoutTUN(t, func(t *testing.T) {
		wantStdout(t, w.in(t, conf{}, "cat", "/sys/class/net/adit0/operstate"), "up\n")
	})
}

func TestLeavingTUNIsSaidOnlyWhenAsked(t *testing.T) {
	w := enter(t)
	withoutTUN(t, func(t *testing.T) {
		file := conf{}.write(t, w)
		wantStdout(t, w.run("-c", file, "--", "echo", "quiet"), "quiet\n")
		if r := do(t, w.run("-v", "-c", file, "--", "true")); r.code != 0 || !strings.Contains(r.stderr, "veth") {
			t.Errorf("-v does not name veth (status %d): %s", r.code, r.stderr)
		}
		if r := do(t, w.User.Command(w.adit, "doctor")); !strings.Contains(r.stdout+r.stderr, "/dev/net/tun") {
			t.Errorf("doctor does not name /dev/net/tun:\n%s%s", r.stdout, r.stderr)
		}
	})
}

func TestNothingLeaksWithoutTUN(t *testing.T) {
	w := enter(t)
	withoutTUN(t, func(t *testing.T) {
		w.watch(t)
		file := conf{allowed: "10.9.0.0/24"}.write(t, w)
		wantStdout(t, w.run("-c", file, "--", w.probe, "dial", "tcp", "198.51.100.1:80", "1"), "network is unreachable\n")
		before := w.Snapshot()
		s := startStream(t, w.run("--stop-timeout", "100ms", "-c", conf{}.write(t, w), "--", "sh", "-c", stubborn, "sh", w.probe))
		s.want("ok")
		kill(t, engineOf(t, s.cmd.Process.Pid))
		s.end()
		w.wantNothingSince(t, before)
	})
}
