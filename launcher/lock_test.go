package launcher

import (
	"os"
	"path/filepath"
	"testing"

	"adit/wg"

	"golang.org/x/sys/unix"
)

func TestTheSameKeyTwiceIsRefused(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	key, other := wg.NewPrivateKey(), wg.NewPrivateKey()
	first, err := lockKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockKey(key); err == nil {
		t.Error("the key of a running tunnel was locked again")
	}
	second, err := lockKey(other)
	if err != nil {
		t.Errorf("another key: %v", err)
	} else {
		second.Close()
	}
	first.save([timestampLen]byte{0x40, 11: 7})
	first.Close()
	again, err := lockKey(key)
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	defer again.Close()
	if got := again.last(); got != [timestampLen]byte{0x40, 11: 7} {
		t.Errorf("the last time stamp came back as %x", got)
	}
}

// A directory that its owner cannot enter would stay so for the next run.
func TestRuntimeDirIsOursWhateverTheUmask(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	old := unix.Umask(0o777)
	dir, err := runtimeDir()
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v; want mode 0700", st.Mode(), err)
	}
}

func TestPlantedTimestampIsNotUsed(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	lock, err := lockKey(wg.NewPrivateKey())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	lock.save([timestampLen]byte{0x40, 11: 7})
	if _, err := lock.f.WriteAt([]byte{0x7f}, 0); err != nil {
		t.Fatal(err)
	}
	if got := lock.last(); got != [timestampLen]byte{} {
		t.Errorf("a stamp that was tampered with came back: %x", got)
	}
}

func TestRuntimeDirOfSomebodyElseIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	open, link, file := filepath.Join(dir, "open"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	for _, err := range []error{os.Mkdir(open, 0o755), os.Chmod(open, 0o755), os.Symlink(t.TempDir(), link), os.WriteFile(file, nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range map[string]string{"open to others": open, "a link": link, "a file": file} {
		if err := ownDir(path, os.Getuid()); err == nil {
			t.Errorf("a directory that is %s was taken", name)
		}
	}
	if err := ownDir(filepath.Join(dir, "new"), os.Getuid()+1); err == nil {
		t.Error("a directory of another user was taken")
	}
	if err := ownDir(filepath.Join(dir, "mine"), os.Getuid()); err != nil {
		t.Errorf("a new directory of our own: %v", err)
	}
}
