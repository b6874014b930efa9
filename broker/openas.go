package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openAs opens the file that path leads thread tid to, without touching it: in the
// thread's mounts, below its root, and for itself what is said of oneself in /proc. Of
// the links of /proc that lead to a file whatever its name (proc(5)), which would lead
// to ours, only the first one is followed, and only of the thread's own.
func openAs(tid int, path string) (int, error) {
	of := "/proc/" + strconv.Itoa(tid)
	dir, rest, err := baseOf(of, path)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	ownRoot := strings.HasPrefix(path, "/") && hasOwnView(of)
	if ownRoot {
		// Absolute links are below its root, too.
		how.Resolve |= unix.RESOLVE_IN_ROOT
	}
	if rest == "" {
		return unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	}
	fd, err := unix.Openat2(dir, rest, how)
	if err == unix.ENOSYS && !ownRoot { // Linux 5.6
		return unix.Openat(dir, rest, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// baseOf opens where the way along path begins for the thread at of, /proc/TID, and
// returns the rest of the way.
func baseOf(of, path string) (dir int, rest string, err error) {
	base, rest := of+"/cwd", path
	if strings.HasPrefix(path, "/") {
		base, rest = of+"/root", strings.TrimLeft(path, "/")
	}
	if link, after, is := ownLink(path); is {
		base, rest = of+"/"+link, after
	} else if !strings.HasPrefix(path, "/") && hasOwnView(of) {
		return relativeBase(of, path)
	}
	dir, err = unix.Open(base, unix.O_PATH|unix.O_CLOEXEC, 0)
	return dir, rest, err
}

// ownLink splits a path that begins with a link of /proc/self: cwd, root, fd/N.
func ownLink(path string) (link, rest string, is bool) {
	for _, self := range []string{"/proc/self/", "/proc/thread-self/"} {
		after, found := strings.CutPrefix(path, self)
		if !found {
			continue
		}
		link, rest, _ = strings.Cut(after, "/")
		if link == "fd" {
			var n string
			n, rest, _ = strings.Cut(rest, "/")
			if _, err := strconv.ParseUint(n, 10, 31); err != nil {
				return "", "", false
			}
			return "fd/" + n, rest, true
		}
		return link, rest, link == "cwd" || link == "root"
	}
	return "", "", false
}

// relativeBase is baseOf for a relative path of a thread that sees other files than
// we do: from its root, so that nothing leads out of that.
func relativeBase(of, path string) (dir int, rest string, err error) {
	cwd, err := os.Readlink(of + "/cwd")
	if err != nil {
		return -1, "", err
	}
	root, err := os.Readlink(of + "/root")
	if err != nil {
		return -1, "", err
	}
	below, err := filepath.Rel(root, cwd)
	if err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return -1, "", unix.ENOENT
	}
	dir, err = unix.Open(of+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return dir, below + "/" + path, err
}

// hasOwnView reports whether a thread sees other files than we do: it has another
// root, or other mounts.
func hasOwnView(of string) bool {
	ours, err1 := os.Readlink("/proc/self/ns/mnt")
	theirs, err2 := os.Readlink(of + "/ns/mnt")
	if err1 != nil || err2 != nil || ours != theirs {
		return true
	}
	var root, theirRoot unix.Stat_t
	err := unix.Stat(fmt.Sprintf("%s/root", of), &theirRoot)
	return err != nil || unix.Stat("/", &root) != nil || idOf(&root) != idOf(&theirRoot)
}
