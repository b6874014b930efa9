package preload

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestWhatIsCovered(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	test, err := os.ReadFile("/proc/self/exe") // by its path it may be another user's
	if err != nil {
		t.Fatal(err)
	}
	self := file("self", string(test))
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(shell)
	if err != nil {
		t.Skip(err)
	}
	other := []byte(string(program))
	other[18], other[19] = 22, 0 // e_machine: s390
	small := []byte(string(program))
	small[4] = 1 // EI_CLASS: 32 bits
	script := file("script", "#!"+shell+" -e\ntrue\n")
	for _, tt := range []struct {
		name, path, why string
	}{
		{"a shell", shell, ""},
		{"a script of it", script, ""},
		{"a script of a script", file("second", "#! "+script+"\n"), ""},
		// With cgo it is a dynamic one, else a static one.
		{"a script of a Go program", file("third", "#!"+self+"\n"), " program"},
		{"a script of itself", file("fourth", "#!"+filepath.Join(dir, "fourth")+"\n"), ""},
		{"a Go program", self, " program"},
		{"of another processor", file("other", string(other)), "another processor"},
		{"of 32 bits", file("small", string(small)), ""},
		{"no program", file("text", "hello\n"), ""},
		{"nothing", file("nothing", ""), ""},
		{"a half program", file("half", string(program[:100])), ""},
		{"what is not there", filepath.Join(dir, "nowhere"), ""},
	} {
		err := Covers(tt.path)
		var uncovered *UncoveredError
		switch {
		case tt.why == "" && err != nil && tt.name != "of 32 bits":
			t.Errorf("%s: got %v, want nil", tt.name, err)
		case tt.why != "" && (!errors.As(err, &uncovered) || !strings.Contains(err.Error(), tt.why)):
			t.Errorf("%s: got %v, want one that says %q", tt.name, err, tt.why)
		}
	}
}

// What cgo has made loads libc, and goes past it.
func TestGoProgramsAreNotCovered(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"C\"\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOTOOLCHAIN=local")
	if os.Getuid() != 0 {
		t.Skip("once, as root, is enough of a build")
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no cgo here: %v: %s", err, text)
	}
	if err := Covers(filepath.Join(dir, "program")); err == nil || !strings.Contains(err.Error(), "Go program") {
		t.Errorf("got %v", err)
	}
}

func TestProgramsWithRightsAreNotCovered(t *testing.T) {
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o755|os.ModeSetuid)
	if err := Covers(path); err != nil {
		t.Errorf("set-user-ID to who starts it: got %v, want nil", err)
	}
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for mode, why := range map[os.FileMode]string{os.ModeSetuid: "set-user-ID", os.ModeSetgid: "set-group-ID"} {
		os.Chmod(path, 0o755|mode)
		if err := Covers(path); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v", why, err)
		}
	}
}

func TestSmallProgramsAreNotCovered(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("made by a compiler for amd64")
	}
	source := filepath.Join(t.TempDir(), "small.c")
	if err := os.WriteFile(source, []byte("void _start(void) { for (;;); }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("cc", "-m32", "-nostdlib", "-static", "-o", source+".out", source).CombinedOutput(); err != nil {
		t.Skipf("no compiler for 32 bits: %v: %s", err, text)
	}
	if err := Covers(source + ".out"); err == nil || !strings.Contains(err.Error(), "32-bit") {
		t.Errorf("got %v", err)
	}
}
