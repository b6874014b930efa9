package preload

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"adit/internal/goroutines"

	"golang.org/x/sys/unix"
)

// guardedName is the argv[0] under which the test binary puts the guard over
// itself and becomes the program in its arguments.
const guardedName = "adit-test-guarded"

// TestMain runs the tests twice where they are root's: as root, whose programs
// become somebody else, and as somebody else altogether.
func TestMain(m *testing.M) {
	if os.Args[0] == guardedName {
		fmt.Fprintln(os.Stderr, guarded(os.Args[1:]))
		os.Exit(125)
	}
	if os.Getuid() == 0 && !fuzzing() {
		if code := asNobody(); code != 0 {
			fmt.Fprintln(os.Stderr, "FAIL as an ordinary user")
			os.Exit(code)
		}
	}
	goroutines.Main(m)
}

// fuzzing reports whether this is go test -fuzz, or a worker of it.
func fuzzing() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.fuzzworker")
	})
}

const nobody = 65534

// asNobody runs this test binary as an ordinary user.
func asNobody() int {
	dir, err := os.MkdirTemp("", "adit-preload")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[0]}
	for _, a := range os.Args[1:] {
		// These write files, which are root's.
		if !strings.HasPrefix(a, "-test.testlogfile") && !strings.HasPrefix(a, "-test.coverprofile") &&
			!strings.HasPrefix(a, "-test.gocoverdir") {
			cmd.Args = append(cmd.Args, a)
		}
	}
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// guarded becomes a program under the guard. It returns only if that fails.
func guarded(argv []string) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	filter := Guard(runtime.GOARCH)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return os.NewSyscallError("execve", unix.Exec(argv[0], argv, os.Environ()))
}

// guardedCommand returns a command under the guard. Root's are run as nobody.
func guardedCommand(argv ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{guardedName}, argv...)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}
