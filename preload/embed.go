package preload

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The folder is always there, with a README at least: without a C compiler adit is
// built all the same and lacks this mode.
//
//go:embed shim/lib
var libraries embed.FS

// NameLen is how many bytes name a Server.
const NameLen = 16

// placeholder is where a Server's name goes in the shim: shim/name.c.
const placeholder = "ADIT-BROKER-NAME"

// ErrNoShim says that this adit was built without a C compiler.
var ErrNoShim = errors.New("adit was built without its C library: make preload builds it")

// Shim returns the library for a processor, as it was built, and whether there is
// one.
func Shim(goarch string) ([]byte, bool) {
	b, err := libraries.ReadFile("shim/lib/" + goarch + ".so")
	return b, err == nil
}

// namedShim returns the library that asks the Server with the name.
func namedShim(name [NameLen]byte) ([]byte, error) {
	b, ok := Shim(runtime.GOARCH)
	if !ok {
		return nil, ErrNoShim
	}
	if n := bytes.Count(b, []byte(placeholder)); n != 1 {
		return nil, fmt.Errorf("the shim has %d places for a name, not one", n)
	}
	return bytes.Replace(b, []byte(placeholder), name[:], 1), nil
}

// ShimName is what the file of the Server with the name is called.
func ShimName(server string) string { return "shim-" + server + ".so" }

// ServerOf returns the name of the Server whose shim a file is, by the file's name.
func ServerOf(file string) (server string, found bool) {
	s, isShim := strings.CutPrefix(file, "shim-")
	s, isLibrary := strings.CutSuffix(s, ".so")
	return s, isShim && isLibrary && len(s) == NameLen
}

// WriteShim writes the shim of the Server with the name to a new file in dir, which
// should be nobody else's, and returns its path for LD_PRELOAD. The file belongs
// to the caller. Where it could not be loaded from dir, that is an error, and
// another folder may do.
func WriteShim(dir string, name [NameLen]byte) (path string, err error) {
	b, err := namedShim(name)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, ShimName(string(name[:])))
	if strings.ContainsAny(path, " :\t\n") {
		return "", fmt.Errorf("%s: the dynamic loader would take it for several", path) // ld.so(8)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return "", fmt.Errorf("%s: nothing may be executed there (noexec)", dir)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	// Whatever the umask is: a program may give itself another user.
	if err = errors.Join(err, f.Chmod(0o755), f.Close()); err != nil {
		os.Remove(path)
		return "", err
	}
	return path, nil
}
