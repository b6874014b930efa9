package e2e

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// aditVar names the binary under test, for the process inside. Set by the
// caller it saves the build.
const aditVar = "ADIT_E2E_BINARY"

func TestMain(m *testing.M) {
	peer.Main()
	hearSignals()
	if lab.Inside() {
		os.Exit(inside(m))
	}
	os.Exit(outside(m))
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
		if err := build(binary, "adit/cmd/adit", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w -E adit_entry"); err != nil {
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
func inside(m *testing.M) int {
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
	} else if theWorld, err = newWorld(l); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	reportSkips()
	return code
}

// build compiles a package as the Makefile does: static.
func build(output, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-buildvcs=false", "-o", output}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Chmod(output, 0o755)
}

// The one lab of this process, or why there is none.
var (
	theWorld *world
	whyNoLab error
)

// enter returns the world, as every test's first step. It skips the test where
// there is none, unless ADIT_REQUIRE says that there must be one.
func enter(t *testing.T) *world {
	t.Helper()
	if whyNoLab == nil && theWorld == nil {
		whyNoLab = errors.New("not inside the lab")
	}
	if whyNoLab != nil {
		if required("namespace") {
			t.Fatalf("no lab for end-to-end tests: %v", whyNoLab)
		}
		skip(t, "no lab for end-to-end tests: %v", whyNoLab)
	}
	theWorld.tunnelDNS.Forget()
	t.Cleanup(func() { theWorld.wantNobody(t) })
	return theWorld
}

// required reports whether what is one of the words of ADIT_REQUIRE.
func required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("ADIT_REQUIRE"), ","), what)
}

var skips struct {
	mu   sync.Mutex // guards list
	list []string
}

// skip skips the test and counts it: the last line of the run says how many.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	skips.mu.Lock()
	skips.list = append(skips.list, t.Name()+": "+reason)
	skips.mu.Unlock()
	t.Skip(reason)
}

func reportSkips() {
	fmt.Printf("e2e: %d skipped\n", len(skips.list))
	for _, s := range skips.list {
		fmt.Println("e2e: skipped", s)
	}
}

// need skips the test unless the user can run all of the programs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := lab.Look(p); err != nil {
			missing = append(missing, p)
		}
	}
	if missing != nil {
		skip(t, "not installed: %s", strings.Join(missing, ", "))
	}
}
