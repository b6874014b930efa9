package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// resolvers knows the sockets of the host's resolver daemons by what they are, not by
// their names: a mount, a link or a new name of the directory changes nothing.
// Safe for concurrent use.
type resolvers struct {
	dirs []string

	mu    sync.Mutex // guards known
	known map[fileID]bool
}

// A fileID is what a file is, whatever its name.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// see notes which directories and sockets are the resolvers' now. What was once
// stays so. It is done with our own rights, which may be more than the program's.
func (r *resolvers) see() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[fileID]bool)
	}
	for _, dir := range r.dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil {
			r.known[idOf(&st)] = true
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if unix.Stat(filepath.Join(dir, e.Name()), &st) == nil {
				r.known[idOf(&st)] = true
			}
		}
	}
}

// has reports whether socket, an open file, is a resolver's: one of those that were
// seen, or in one of their directories.
func (r *resolvers) has(socket int) bool {
	var st, dir unix.Stat_t
	if unix.Fstat(socket, &st) != nil {
		return true
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", socket))
	inDir := err == nil && unix.Stat(filepath.Dir(path), &dir) == nil
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[idOf(&st)] || inDir && r.known[idOf(&dir)]
}
