package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// surroundedName makes the test binary, started under it, try a mode in
// surroundings that a test itself would not get rid of.
const surroundedName = "test-surrounded"

// surroundings are applied to the thread from which the attempt starts its child,
// and in part are of the attempting process's own calls.
var surroundings = map[string]func() error{
	"open":                     func() error { return nil },
	"listener":                 func() error { return onThread(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, nil) },
	"no seccomp":               refusing(unix.EPERM, unix.SYS_SECCOMP),
	"old seccomp":              refusing(unix.EINVAL, unix.SYS_SECCOMP),
	"no seccomp at all":        refusing(unix.ENOSYS, unix.SYS_SECCOMP),
	"no reading":               refusing(unix.EPERM, unix.SYS_PROCESS_VM_READV),
	"no writing":               refusing(unix.EPERM, unix.SYS_PROCESS_VM_WRITEV),
	"no reading in the kernel": refusing(unix.ENOSYS, unix.SYS_PROCESS_VM_READV),
	"no pidfd_getfd":           refusing(unix.EPERM, unix.SYS_PIDFD_GETFD),
	"no pidfd_open":            refusing(unix.ENOSYS, unix.SYS_PIDFD_OPEN),
	"no binding":               refusing(unix.EPERM, unix.SYS_SETSOCKOPT),
	"no ADDFD":                 func() error { return onThread(0, ifArg(unix.SYS_IOCTL, 1, []uint32{ioctlNotifAddFD}, unix.EINVAL)) },

	"not dumpable":                notDumpable,
	"no namespaces":               noNamespaces,
	"no namespaces, not dumpable": func() error { return errors.Join(noNamespaces(), notDumpable()) },
}

func notDumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// noNamespaces makes children without them only.
func noNamespaces() error {
	return onThread(0, []unix.SockFilter{
		load(dataNr), jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 3), load(low(0)),
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_NEWUSER, Jf: 1}, refuse(unix.EPERM),
	})
}

// refusing is a filter that refuses a call.
func refusing(errno syscall.Errno, nr uint32) func() error {
	return func() error {
		return onThread(0, []unix.SockFilter{load(dataNr), jump(unix.BPF_JEQ, nr, 0, 1), refuse(errno)})
	}
}

// onThread guards this thread by rules.
func onThread(flags uintptr, rules []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, err := setFilter(append(rules, ret(unix.SECCOMP_RET_ALLOW)), flags)
	return err
}

// surrounded prints what came of a mode, in surroundings: its detail or its error.
func surrounded(args []string) {
	runtime.LockOSThread()
	if err := surroundings[args[1]](); err != nil {
		fmt.Println("BUG:", err)
		os.Exit(1)
	}
	fmt.Print(attempted(args[0]))
	os.Exit(0)
}

func attempted(mode string) string {
	detail, err := tryMode(context.Background(), mode)
	if err != nil {
		return fmt.Sprintf("%v\n%s", err, strings.Join(hintsOf(err), "\n"))
	}
	return "works: " + detail
}

// trySurrounded tries a mode in surroundings, as an ordinary user.
func trySurrounded(t *testing.T, mode, where string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{surroundedName, mode, where}
	cmd.Stderr = os.Stderr
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	if os.Getuid() == 0 {
		if err := os.Chown(dir, 4321, 4321); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return string(out)
}

// What the kernel, a profile, a sandbox refuse is found out and named, by the
// attempt; what is not needed may be refused.
func TestAttemptFindsWhatIsRefused(t *testing.T) {
	tests := []struct {
		mode, where string
		want        string // of detail or error
	}{
		{"seccomp", "open", "works: seccomp notification"},
		{"seccomp", "no pidfd_getfd", "works: seccomp notification (no pidfd_getfd: operation not permitted)"},
		{"seccomp", "no pidfd_open", "works: seccomp notification (no pidfd_getfd: function not implemented)"},
		{"seccomp", "listener", "mode seccomp: another program listens to its system calls already"},
		{"seccomp", "no seccomp", "forbids it: install a filter with a listener: operation not permitted"},
		{"seccomp", "old seccomp", "mode seccomp: the kernel has no seccomp notification"},
		{"seccomp", "no seccomp at all", "mode seccomp: the kernel has no seccomp notification"},
		{"seccomp", "no reading", "forbids it: process_vm_readv: operation not permitted"},
		{"seccomp", "no writing", "forbids it: process_vm_writev: operation not permitted"},
		{"seccomp", "no reading in the kernel", "mode seccomp: the kernel cannot read the memory of another process"},
		{"seccomp", "no binding", "mode seccomp: the kernel lets nobody but root bind a socket to an interface"},
		{"seccomp", "no ADDFD", "mode seccomp: the kernel cannot hand out a descriptor as the answer to a call"},
		{"preload", "open", "works: library in /"},
		{"preload", "listener", "works: library in /"},
		{"preload", "no reading", "works: library in /"},
		{"preload", "no ADDFD", "works: library in /"},
		{"preload", "no seccomp", "forbids it: install a filter: operation not permitted"},
		{"preload", "old seccomp", "mode preload: the kernel has no seccomp filters"},
		{"preload", "no binding", "mode preload: the kernel lets nobody but root bind a socket to an interface"},
	}
	for _, tt := range tests {
		if tt.mode == "preload" && !hasLibrary() {
			tt.want = "built without a C compiler"
		}
		t.Run(tt.mode+", "+tt.where, func(t *testing.T) {
			if got := trySurrounded(t, tt.mode, tt.where); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An attempt that is given up leaves nothing behind and does not hang.
func TestAttemptEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := withProbe(ctx, probeListen, func(p *stage, listener int) error {
		_, err := serveProbe(p, listener)
		return err
	})
	if err == nil {
		t.Error("got no error, want one")
	}
}

// The engine is not dumpable when it asks which other mode would do.
func TestAttemptOfNamespacesDoesNotDependOnWhoMakesIt(t *testing.T) {
	if want, got := trySurrounded(t, "namespace", "open"), trySurrounded(t, "namespace", "not dumpable"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if want, got := trySurrounded(t, "namespace", "no namespaces"), trySurrounded(t, "namespace", "no namespaces, not dumpable"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
