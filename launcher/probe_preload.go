package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"

	"adit/preload"

	"golang.org/x/sys/unix"
)

// probePreload puts the library where a program could load it, and has a child
// guard itself by a filter.
func probePreload(ctx context.Context) (string, error) {
	const mode = "preload"
	m := thisMachine()
	if preload.Guard(runtime.GOARCH) == nil {
		return "", errNoMachine(mode, runtime.GOARCH)
	}
	if !hasLibrary() {
		return "", errNoShim(runtime.GOARCH, buildAgain(m))
	}
	if err := askFilter(0); err != nil {
		return "", modeDenied(m, mode, stepFilter, err)
	}
	dir, err := tryLibrary()
	if err == nil {
		err = tryLoopback()
	}
	if err == nil {
		err = withProbe(ctx, probeGuard, func(*stage, int) error { return nil })
	}
	if err != nil {
		return "", probeFailure(mode, err)
	}
	return "library in " + dir, nil
}

// hasLibrary reports whether this adit was built with one for this machine.
func hasLibrary() bool {
	_, built := preload.Shim(runtime.GOARCH)
	return built
}

// tryLibrary puts the library in its place and takes it away again. It returns the
// folder.
func tryLibrary() (string, error) {
	var name [preload.NameLen]byte
	copy(name[:], fmt.Sprintf("%016x", rand.Uint64()))
	path, err := placeLibrary(name)
	if err != nil {
		return "", err
	}
	// To another run that begins now it is that of a run that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return filepath.Dir(path), nil
}

// beGuarded installs a filter that refuses sockets, and is refused one.
func beGuarded() error {
	guard := append(ifArg(unix.SYS_SOCKET, 0, []uint32{unix.AF_INET}, unix.EACCES), ret(unix.SECCOMP_RET_ALLOW))
	if _, err := setFilter(guard, 0); err != nil {
		return step(stepFilter, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	if err != unix.EACCES {
		return step(stepFilter, errors.New("the filter does not hold"))
	}
	return nil
}
