package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/hostile"
	"adit/launcher"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	// The scripts start this binary as adit, which starts itself again.
	if launcher.Main(os.Args) {
		return
	}
	testscript.Main(m, map[string]func(){"adit": main})
}

// Each script is about one command or one matter; see docs/testing.md.
func TestScripts(t *testing.T) {
	modes := sync.OnceValue(func() []launcher.ModeReport { return launcher.Probe(context.Background()) })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(5 * time.Minute), // nothing here takes a second on an idle machine
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status},
		Condition: func(cond string) (bool, error) {
			mode, ok := strings.CutPrefix(cond, "mode:")
			if !ok {
				return false, nil
			}
			for _, m := range modes() {
				if m.Mode == mode && !m.Works {
					if slices.Contains(strings.Split(os.Getenv("ADIT_REQUIRE"), ","), mode) {
						t.Errorf("mode %s is required but does not work: %s", mode, m.Reason)
					}
					t.Logf("mode %s does not work: %s", mode, m.Reason)
				}
				if m.Mode == mode {
					return m.Works, nil
				}
			}
			return false, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_RUNTIME_DIR", filepath.Join(e.WorkDir, ".tmp"))
			return nil
		},
	})
}

// status runs a command and wants an exit status: status 42 adit run …
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [arg…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		// As a shell tells it.
		if got = exit.ExitCode(); got < 0 {
			got = 128 + int(signalOf(exit))
		}
	}
	if got != want {
		ts.Fatalf("exit status: got %d, want %d", got, want)
	}
}

// A said is what one call of the program told.
type said struct {
	out, err string
	failure  *failure         // nil if there was none
	options  launcher.Options // what the launcher was given
	result   launcher.Result
}

// A call is one call of the program within this process, with nothing of the
// system's but the file system below the current folder.
type call struct {
	args   []string
	env    map[string]string
	stdin  string
	exe    string
	launch func(launcher.Options) (launcher.Result, error)
	modes  []launcher.ModeReport
	trial  func(context.Context, *hostile.Trial) (*hostile.Report, error)
}

func (c call) run(t *testing.T) (s said) {
	t.Helper()
	in, err := os.Create(filepath.Join(t.TempDir(), "stdin"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.WriteString(c.stdin)
	in.Seek(0, 0)
	var stdout, stderr bytes.Buffer
	a := &adit{
		ui:     &ui{out: &stdout, err: &stderr},
		in:     in,
		getenv: func(name string) string { return c.env[name] },
		exe:    func() (string, error) { return c.exe, nil },
		probe:  func(context.Context) []launcher.ModeReport { return c.modes },
		trial:  c.trial,
		ctx:    t.Context(),
		launch: func(_ context.Context, o launcher.Options) (launcher.Result, error) {
			s.options = o
			if c.launch != nil {
				return c.launch(o)
			}
			return launcher.Result{}, nil
		},
	}
	a.args = c.args
	if err := a.app().RunContext(a.ctx, append([]string{"adit"}, c.args...)); err != nil {
		s.failure = asFailure(err)
		a.result = launcher.Result{Code: a.ui.fail(err)}
	}
	s.out, s.err, s.result = stdout.String(), stderr.String(), a.result
	return s
}

// inFolder makes a folder with the given files the current one.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// golden compares got with a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is said now; if that is meant: go test ./cmd/adit -update\n%s", name, firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "line " + strconv.Itoa(i+1) + ":\n got " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer: got " + strconv.Itoa(len(g)) + " lines, want " + strconv.Itoa(len(w))
}
