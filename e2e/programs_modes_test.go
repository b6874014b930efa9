package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// The programs of the matrix where there is no namespace: their sockets are not
// the kernel's own, and they must not notice.

// lacks reports whether a mode does not carry what the program asks for.
func (p program) lacks(mode string) bool {
	switch p.asks {
	case staticOnly, datagrams:
		return mode == "preload"
	case echoes:
		return mode != "namespace"
	}
	return false
}

// inMode returns argv run by adit in a mode.
func (w *world) inMode(t *testing.T, mode string, argv ...string) *exec.Cmd {
	t.Helper()
	return w.run(append([]string{"--mode=" + mode, "-c", conf{}.write(t, w), "--"}, argv...)...)
}

// withoutNamespace are the modes.
var withoutNamespace = []string{"seccomp", "preload"}

// wantPrograms runs programs in a mode, under the oracle.
func (w *world) wantPrograms(t *testing.T, mode string, list []program) {
	for _, p := range list {
		if p.lacks(mode) {
			continue // TestWhatAModeLacksIsRefused
		}
		t.Run(p.name, func(t *testing.T) {
			suite.Need(t, p.needs...)
			argv := p.argv(t, w)
			w.watchMode(t, mode)
			a := clientAddresses(someClient)
			p.wantAs(t, wantOK(t, w.inMode(t, mode, argv...)), a[0].Addr().String(), a[1].Addr().String())
		})
	}
}

func TestProgramsUseTheTunnelInEveryMode(t *testing.T) {
	w := enter(t)
	t.Run("namespace", func(t *testing.T) { w.wantPrograms(t, "namespace", socketPrograms) })
	for _, mode := range withoutNamespace {
		t.Run(mode, func(t *testing.T) {
			if mode == "preload" {
				needLibrary(t, w)
			}
			w.wantPrograms(t, mode, slices.Concat(matrix, socketPrograms))
		})
	}
}

// Root's programs may become somebody else (nginx does), whose sockets are adit's
// as well.
func TestProgramsOfRootUseTheTunnelInEveryMode(t *testing.T) {
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	for _, mode := range withoutNamespace {
		for _, p := range slices.Concat(matrix, socketPrograms) {
			if p.lacks(mode) {
				continue
			}
			t.Run(mode+"/"+p.name, func(t *testing.T) {
				if mode == "preload" {
					needLibrary(t, w)
				}
				suite.Need(t, p.needs...)
				if strings.Contains(p.name, "ssh") {
					os.Chown(w.sshKey, 0, 0)
					t.Cleanup(func() { os.Chown(w.sshKey, w.User.UID, w.User.GID) })
				}
				argv := append([]string{"run", "--mode=" + mode, "-c", conf{}.write(t, w), "--"}, p.argv(t, w)...)
				w.watchMode(t, mode)
				a := clientAddresses(someClient)
				p.wantAs(t, wantOK(t, w.Root().Command(w.adit, argv...)), a[0].Addr().String(), a[1].Addr().String())
			})
		}
	}
}

// The control: the programs do the same without adit, and the oracle sees it.
func TestOracleSeesProgramsOfSocketsThatLeak(t *testing.T) {
	w := enter(t)
	for _, p := range socketPrograms {
		t.Run(p.name, func(t *testing.T) {
			suite.Need(t, p.needs...)
			argv := p.argv(t, w)
			r := seen(t, func() {
				p.wantAs(t, wantOK(t, w.plain(argv...)), lab.HostV4.Addr().String(), lab.HostV6.Addr().String())
			})
			if len(r.Leaks) == 0 {
				t.Error("the oracle saw nothing of a program that used the host's network")
			}
		})
	}
}

// TestWhatAModeLacksIsRefused: in preload mode a static program is not started, and
// the words say so; whatever else a mode lacks is refused to the program, and
// nothing leaves the host instead.
func TestWhatAModeLacksIsRefused(t *testing.T) {
	w := enter(t)
	for _, mode := range withoutNamespace {
		t.Run(mode, func(t *testing.T) {
			if mode == "preload" {
				needLibrary(t, w)
			}
			for _, p := range slices.Concat(matrix, socketPrograms) {
				if !p.lacks(mode) {
					continue
				}
				t.Run(p.name, func(t *testing.T) {
					suite.Need(t, p.needs...)
					argv := p.argv(t, w)
					w.watchMode(t, mode)
					r := do(t, w.inMode(t, mode, argv...))
					p.wantRefused(t, r)
				})
			}
		})
	}
}

// wantRefused checks how a program ended that asks for too much.
func (p program) wantRefused(t *testing.T, r result) {
	t.Helper()
	if p.asks != staticOnly {
		if r.code == 0 {
			t.Errorf("it works: %q", r.stdout)
		}
		return
	}
	first, hints, _ := strings.Cut(r.stderr, "\n")
	if r.code != 126 || r.stdout != "" {
		t.Errorf("got status %d and stdout %q, want 126 and nothing", r.code, r.stdout)
	}
	if !strings.HasPrefix(first, "adit: error: ") || !strings.Contains(first, "mode preload: it cannot cover this: ") {
		t.Errorf("got %q, want one error that says why", first)
	}
	if !strings.HasPrefix(hints, "adit: hint: ") || !strings.Contains(hints, "--mode=") {
		t.Errorf("got %q, want a hint with another mode", hints)
	}
}

// A repository of Debian packages, with one that does nothing.
const (
	repositoryPort = 8088
	packageName    = "adit-e2e-nothing"
)

func repository() http.Handler {
	packages := "Package: " + packageName + "\nVersion: 1\nArchitecture: all\nMaintainer: e2e <e2e@example.com>\n" +
		"Filename: ./nothing.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 64) + "\nDescription: nothing\n\n"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/Packages") {
			http.NotFound(w, r) // apt asks for much more, and does without
			return
		}
		fmt.Fprint(w, packages)
	})
}

// TestAptUpdatesOrSaysWhyNot: as root, apt becomes another user before it fetches.
// It works, or there is one line that says why it cannot.
func TestAptUpdatesOrSaysWhyNot(t *testing.T) {
	w := enter(t)
	suite.Need(t, "apt-get")
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	w.serveMore(t)
	for _, mode := range []string{"", "namespace", "seccomp", "preload"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "preload" {
				needLibrary(t, w)
			}
			dir, argv := w.aptUpdate(t)
			if mode != "" {
				argv = append([]string{w.adit, "run", "--mode=" + mode, "-c", conf{}.write(t, w), "--"}, argv...)
				w.watchMode(t, mode)
			}
			r := do(t, w.Root().Command(argv[0], argv[1:]...))
			said := linesOfAdit(r.stderr)
			lists, _ := filepath.Glob(filepath.Join(dir, "lists", "*_Packages"))
			if len(lists) == 1 && r.code == 0 && len(said) == 0 {
				if text, err := os.ReadFile(lists[0]); err != nil || !strings.Contains(string(text), packageName) {
					t.Errorf("got %q, %v, want the list with %s", text, err, packageName)
				}
				return
			}
			if mode == "" || mode == "namespace" || len(said) != 1 || len(lists) > 0 {
				t.Errorf("got status %d, %d lists, and of adit %q; want success, or one line of adit's\nstdout: %s\nstderr: %s",
					r.code, len(lists), said, r.stdout, r.stderr)
			}
		})
	}
}

// aptUpdate returns the command, which leaves its lists in a folder of its own.
func (w *world) aptUpdate(t *testing.T) (dir string, argv []string) {
	t.Helper()
	dir = filepath.Join(w.Dir, "apt")
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	sources := filepath.Join(dir, "sources.list")
	line := fmt.Sprintf("deb [trusted=yes] http://web.test:%d/debian/ ./\n", repositoryPort)
	if err := os.WriteFile(sources, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	argv = []string{"apt-get", "update", "-q", "-o", "Dir::Etc::sourcelist=" + sources, "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State::lists=" + dir + "/lists", "-o", "Dir::Cache=" + dir + "/cache", "-o", "APT::Update::Error-Mode=any",
		"-o", "Acquire::GzipIndexes=false", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20"}
	return dir, argv
}

// linesOfAdit returns what adit has said.
func linesOfAdit(stderr string) (said []string) {
	for l := range strings.Lines(stderr) {
		if strings.HasPrefix(l, "adit: ") {
			said = append(said, l)
		}
	}
	return said
}
