package suite

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"adit/e2e/lab"
)

// aditVar names the binary under test, for the process inside. Set by the
// caller it saves the build.
const aditVar = "ADIT_E2E_BINARY"

// Adit returns the path of the binary under test.
func Adit() string { return os.Getenv(aditVar) }

// Main runs the tests of a package inside a lab and returns the exit status.
// setUp builds what all of the tests share, once, in the process inside.
func Main(m *testing.M, setUp func(*lab.Lab) error) int {
	hearSignals()
	if lab.Inside() {
		return inside(m, setUp)
	}
	return outside(m)
}

// hearSignals undoes what nohup and the like do: a signal that is ignored here
// would be ignored by all that is started here, and the tests are about signals.
// One that is handled is not.
func hearSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// outside builds what the tests run and enters the lab. Where there can be
// none the tests run here, and are all skipped.
func outside(m *testing.M) int {
	flag.Parse()
	if list := flag.Lookup("test.list"); list != nil && list.Value.String() != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "adit-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	binary := os.Getenv(aditVar)
	if binary != "" {
		if binary, err = filepath.Abs(binary); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	} else {
		binary = filepath.Join(dir, "adit")
		// As the Makefile does.
		if err := Build(binary, "adit/cmd/adit", "-tags", "urfave_cli_no_docs,adit_quiet", "-ldflags", "-s -w -E adit_entry -checklinkname=0"); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: build adit:", err)
			return 1
		}
	}
	code, err := lab.Enter(dir, aditVar+"="+binary)
	if err != nil {
		whyNoLab = err
		return m.Run()
	}
	return code
}

// inside builds the lab and runs the tests on its host.
func inside(m *testing.M, setUp func(*lab.Lab) error) int {
	if err := lab.Adopt(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	l, err := lab.Setup()
	if err != nil {
		// Not permitted here: skip. Anything else is a bug of the lab.
		if !errors.Is(err, fs.ErrPermission) {
			fmt.Fprintln(os.Stderr, "e2e: build the lab:", err)
			return 1
		}
		whyNoLab = err
	} else if err = setUp(l); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	} else {
		theLab = l
	}
	code := m.Run()
	reportSkips()
	return code
}

// Build compiles a package as the Makefile does: static.
func Build(output, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-buildvcs=false", "-o", output}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Chmod(output, 0o755)
}
