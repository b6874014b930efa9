package preload

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var testName = [NameLen]byte([]byte("adit-0123456789a"))

func needShim(t *testing.T) {
	t.Helper()
	if _, ok := Shim(runtime.GOARCH); !ok {
		t.Skip(ErrNoShim)
	}
}

func TestShimIsWrittenWithItsName(t *testing.T) {
	needShim(t)
	dir := t.TempDir()
	path, err := WriteShim(dir, testName)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := Shim(runtime.GOARCH)
	if len(b) != len(plain) || bytes.Count(b, testName[:]) != 1 || bytes.Contains(b, []byte(placeholder)) {
		t.Error("the name does not stand where the other one did")
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("got mode %v (%v), want 0755", st.Mode(), err)
	}
	if name, ok := ServerOf(filepath.Base(path)); !ok || name != string(testName[:]) {
		t.Errorf("%s is the shim of %q", path, name)
	}
	if _, err := WriteShim(dir, testName); err == nil {
		t.Error("a file that was there is written over")
	}
}

func TestShimIsNotWrittenWhereNoLoaderFindsIt(t *testing.T) {
	needShim(t)
	for _, name := range []string{"with space", "with:colon"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if path, err := WriteShim(dir, testName); err == nil {
			t.Errorf("%s: got %s, want an error", name, path)
		}
	}
	// Where there is such a folder, it shows the other reason.
	if _, err := WriteShim("/proc", testName); err == nil || !strings.Contains(err.Error(), "noexec") {
		t.Logf("/proc: %v", err)
	}
}

func TestNoShimForUnknownProcessors(t *testing.T) {
	if _, ok := Shim("s390x"); ok {
		t.Error("there is one for s390x")
	}
}
