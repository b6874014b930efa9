package device

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyAStaleSocketIsRemoved(t *testing.T) {
	dir := t.TempDir()
	file, folder := filepath.Join(dir, "file.sock"), filepath.Join(dir, "folder.sock")
	if err := os.WriteFile(file, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, folder} {
		if err := removeStale(path); err == nil {
			t.Errorf("%s was removed", filepath.Base(path))
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s has gone: %v", filepath.Base(path), err)
		}
	}

	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := removeStale(stale); err == nil {
		t.Error("a socket with a listener was removed")
	}
	l.Close()
	if err := removeStale(stale); err != nil {
		t.Errorf("a stale socket is kept: %v", err)
	}
	if _, err := os.Lstat(stale); err == nil {
		t.Error("a stale socket is still there")
	}
}
