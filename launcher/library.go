package launcher

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"adit/preload"

	"golang.org/x/sys/unix"
)

// libraryDirs are the folders for the library of preload mode, in the order of
// trying: that of other files of ours, and others that are less often mounted
// noexec. Each is to be made and checked by ownDir.
func libraryDirs() []string {
	own := "adit-" + strconv.Itoa(os.Getuid())
	var dirs []string
	if dir, err := runtimeDir(); err == nil {
		dirs = append(dirs, dir)
	}
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if dir = filepath.Join(dir, own); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if dir, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(dir, "adit"))
	}
	return dirs
}

// placeLibrary writes the library that asks the server with the name to the first
// folder that it could be loaded from. The file is the caller's to remove.
func placeLibrary(name [preload.NameLen]byte) (path string, err error) {
	var first error
	for _, dir := range libraryDirs() {
		_, statErr := os.Lstat(dir)
		if err = ownDir(dir, os.Getuid()); err == nil {
			removeStale(dir)
			path, err = preload.WriteShim(dir, name)
		}
		if err == nil {
			return path, nil
		}
		if first == nil {
			first = err
		}
		if statErr != nil {
			os.Remove(dir) // it was made in vain
		}
	}
	return "", step(stepPlace, first)
}

// removeStale removes the libraries of runs that were killed: those whose server is
// gone.
func removeStale(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, preload.ShimName("*")))
	for _, file := range files {
		name, found := preload.ServerOf(filepath.Base(file))
		if !found {
			continue
		}
		c, err := net.Dial("unixgram", "@"+name)
		if errors.Is(err, unix.ECONNREFUSED) {
			os.Remove(file)
		} else if err == nil {
			c.Close()
		}
	}
}
