package launcher

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"adit/preload"
)

// A folder that cannot be used is passed over.
func TestLibraryIsPlacedWhereItCan(t *testing.T) {
	if _, built := preload.Shim(runtime.GOARCH); !built {
		t.Skip("built without a C compiler")
	}
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", temp)
	name := [preload.NameLen]byte([]byte("0123456789abcdef"))
	path, err := placeLibrary(name)
	if err != nil || filepath.Dir(filepath.Dir(path)) != dir {
		t.Errorf("got %s and %v, want it in %s", path, err, dir)
	}
	// That of a run that was killed is in nobody's way, and does not stay.
	if again, err := placeLibrary(name); err != nil || again != path {
		t.Errorf("got %s and %v, want %s", again, err, path)
	}
	c, err := net.ListenPacket("unixgram", "@"+string(name[:]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// That of a run that goes on is passed over.
	path, err = placeLibrary(name)
	if err != nil || filepath.Dir(filepath.Dir(path)) != temp {
		t.Errorf("got %s and %v, want it in %s", path, err, temp)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("got %v and %v, want a file that everybody can read", st, err)
	}
}

// Runs that begin at the same time take the library that one only tries for that of
// a run that was killed.
func TestLibraryIsTriedWhileOtherRunsBegin(t *testing.T) {
	if _, built := preload.Shim(runtime.GOARCH); !built {
		t.Skip("built without a C compiler")
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := tryLibrary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			removeStale(dir)
		}
	})
	for range 500 {
		if _, err = tryLibrary(); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	others.Wait()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLibraryThatCannotBePlacedIsAReasonAndLeavesNothing(t *testing.T) {
	if _, built := preload.Shim(runtime.GOARCH); built {
		t.Skip("this adit has a library")
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	if path, err := placeLibrary([preload.NameLen]byte{}); err == nil {
		t.Errorf("got %s, want an error", path)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
