package preload

import (
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestUnixSocketsAreConnectedOnBehalf(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		dir := filepath.Dir(r.shim)
		l, err := net.Listen("unix", filepath.Join(dir, "greets"))
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(dir, "greets"), 0o777)
		var wg sync.WaitGroup
		wg.Go(func() {
			each(l, func(c net.Conn) { c.Write([]byte("welcome")); c.Close() })
		})
		t.Cleanup(func() { l.Close(); wg.Wait() })
		wantOutput(t, "one that listens", r.run(t, probe, "unix", filepath.Join(dir, "greets")), "read welcome")
		wantOutput(t, "one that is not there", r.run(t, probe, "unix", filepath.Join(dir, "nowhere")), "connect ENOENT")
	})
}

// Of two ends of a unix socket each sees the program's user, also where adit is
// root's and the program is not.
func TestUnixSocketsTellOfTheProgramsUser(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		name := "@adit-test-" + strings.ToLower(rand.Text())
		wantOutput(t, "a listener of one's own", r.run(t, probe, "unix", name), "listens me\nconnects me")
	})
}

func TestGuardHoldsForWhoGoesPastTheShim(t *testing.T) {
	forEachLibc(t, func(t *testing.T, r *rig, probe string) {
		wantOutput(t, "the instruction itself", r.run(t, probe, "guard"), `
			inet EACCES
			inet6 udp EACCES
			high half EACCES
			packet EAFNOSUPPORT
			vsock EAFNOSUPPORT
			unix 0
			netlink 0
			unix pair 0
			tipc pair EOPNOTSUPP
			connect EACCES
			connect unix EACCES
			fast open by sendto EOPNOTSUPP
			fast open by sendmsg EOPNOTSUPP
			fast open by sendmmsg EOPNOTSUPP
			fast open by connect EOPNOTSUPP
			join ENOPROTOOPT
			no delay 0
			io_uring_setup ENOSYS
			io_uring_enter ENOSYS
			io_uring_register ENOSYS
			pidfd_getfd EPERM
			x32 ENOSYS`)
	})
}

// A static program has no shim, and the guard all the same.
func TestStaticProgramsFailClosed(t *testing.T) {
	for _, cc := range libcs {
		t.Run(cc, func(t *testing.T) {
			if _, err := exec.LookPath(cc); err != nil {
				t.Skip(err)
			}
			static := staticProbe(t, cc)
			r := newRig(t)
			got := r.run(t, static, "guard")
			if !strings.HasPrefix(got, "inet EACCES\n") {
				t.Errorf("got %q, want a refusal", got)
			}
			if err := Covers(static); err == nil {
				t.Error("it is said to be covered")
			}
		})
	}
}

// staticProbe builds the test program as a static one.
func staticProbe(t *testing.T, cc string) string {
	t.Helper()
	out := filepath.Join(openDir(t), "probe")
	if text, err := buildProbe(cc, out, "-static", "-w"); err != nil {
		t.Skipf("%s links no static programs: %v\n%s", cc, err, text)
	}
	return out
}
