package hostile

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The socket of a resolver on the host, nscd's, by every name that it can be given:
// who looks at names only, and not at what they lead to, lets one of them through.
var resolverAttempts = category("resolvers", usual(hiddenExpect, hiddenExpect, refused(unix.EACCES, unix.ENOENT)),
	&Attempt{Name: "resolver-relative", Does: "from its directory, by a relative path", Control: Everybody, try: tryRelative},
	&Attempt{Name: "resolver-dots", Does: "by a path with dots and slashes", Control: Everybody, try: unixDoor("/run/./nscd//../nscd/socket", "//var/run/nscd/./socket")},
	&Attempt{Name: "resolver-long", Does: "by a path that fills the whole address, without an end", Control: Everybody, try: tryLongPath},
	&Attempt{Name: "resolver-cut", Does: "by a path whose end lies in the length alone", Control: Everybody, try: tryCutPath},
	&Attempt{Name: "resolver-symlink", Does: "by a symbolic link", Control: Everybody, try: trySymlink},
	&Attempt{Name: "resolver-fd", Does: "by /proc/self/fd of the socket, and of its directory", Control: Everybody, try: tryByDescriptor},
	&Attempt{Name: "resolver-hardlink", Does: "by one more name of the file (link)", Control: Powerful,
		Expect: inEach(refused(unix.ENOENT, unix.EACCES, unix.EPERM, unix.EROFS, unix.ECONNREFUSED)), try: tryHardLink},
	&Attempt{Name: "resolver-neighbour", Does: "by /proc/PID/root of another process of the user's", Control: Everybody,
		Expect: inSeccomp(refused(unix.ENOENT, unix.EACCES, unix.ECONNREFUSED, unix.ELOOP)), try: tryNeighboursRoot},
	nested(unix.CLONE_NEWNS, &Attempt{Name: "resolver-bind", Does: "by a mount of it elsewhere, in a mount namespace of its own", Control: Everybody,
		Expect: nestedHidden, try: tryBoundResolver}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "resolver-chroot", Does: "by its path in a chroot", Control: Everybody, Expect: nestedHidden, try: tryChrootResolver}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "resolver-overlay", Does: "by an overlay of its directory", Expect: nestedHidden, try: tryOverlay}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "chroot-unix", Does: "from a chroot, by links of /proc, a unix socket beyond it",
		Expect: nestedHidden, try: tryOutOfChroot}),
	&Attempt{Name: "resolver-datagram", Does: "by a socket of the wrong type",
		Expect: inEach(refused(unix.ENOENT, unix.EACCES, unix.ECONNREFUSED, unix.EPROTOTYPE)), try: tryWrongType},
)

var (
	hiddenExpect = refused(unix.ENOENT, unix.EACCES, unix.ECONNREFUSED)
	nestedHidden = inEach(refused(unix.ENOENT, unix.EACCES, unix.ECONNREFUSED, unix.EPERM, unix.EINVAL, unix.ENOSPC, unix.ENOTCONN))
)

const resolver = "/run/nscd/socket"

func tryRelative(w *World) Result {
	if err := os.Chdir(filepath.Dir(resolver)); err != nil {
		return no("chdir", err)
	}
	return connectUnix(w, "socket", "../nscd/socket", "./././socket")
}

// connectBytes connects to an address of AF_UNIX as it stands, of that length.
func connectBytes(w *World, path string, size int) Result {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	name := make([]byte, unix.SizeofSockaddrUnix)
	binary.NativeEndian.PutUint16(name, unix.AF_UNIX)
	copy(name[2:], path)
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&name[0])), uintptr(size))
	if errno != 0 {
		return no("connect", errno)
	}
	say(w, fd)
	return got("connect " + path)
}

// tryLongPath has no byte left for an end (unix(7)).
func tryLongPath(w *World) Result {
	const pathLen = unix.SizeofSockaddrUnix - 2
	path := "/run" + strings.Repeat("/", pathLen-len("/run")-len("nscd/socket")) + "nscd/socket"
	return connectBytes(w, path, unix.SizeofSockaddrUnix)
}

// tryCutPath has more text behind the path than belongs to it.
func tryCutPath(w *World) Result { return connectBytes(w, resolver+"-or-another", 2+len(resolver)) }

// scratchDir is a folder for this attempt's files.
func (w *World) scratchDir() (string, error) { return os.MkdirTemp("", "attempt-") }

func trySymlink(w *World) Result {
	dir, err := w.scratchDir()
	if err != nil {
		return missing("a folder to write in")
	}
	defer os.RemoveAll(dir)
	for name, target := range map[string]string{"file": resolver, "folder": filepath.Dir(resolver)} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return no("symlink", err)
		}
	}
	return connectUnix(w, dir+"/file", dir+"/folder/socket")
}

func tryByDescriptor(w *World) Result {
	r := no("open "+resolver, unix.ENOENT)
	for path, suffix := range map[string]string{resolver: "", filepath.Dir(resolver): "/socket", "/run": "/nscd/socket"} {
		fd, err := unix.Open(path, unix.O_PATH, 0)
		if err != nil {
			continue
		}
		for _, name := range []string{"/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/"} {
			if r = connectUnix(w, name+strconv.Itoa(fd)+suffix); r.State == StateGot {
				return r
			}
		}
	}
	return r
}

func tryHardLink(w *World) Result {
	path := "/run/attempt-" + w.Token
	if err := os.Link(resolver, path); err != nil {
		return no("link", err)
	}
	defer os.Remove(path)
	return connectUnix(w, path)
}

func tryNeighboursRoot(w *World) Result {
	if w.Victim.PID == 0 {
		return missing("a victim")
	}
	return connectUnix(w, fmt.Sprintf("/proc/%d/root%s", w.Victim.PID, resolver))
}

// tryBoundResolver mounts the directory, and the socket itself, over something of
// its own.
func tryBoundResolver(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	r := no("find "+resolver, unix.ENOENT)
	if err := unix.Mount(filepath.Dir(resolver), dir, "", unix.MS_BIND, ""); err == nil {
		if r = connectUnix(w, dir+"/socket"); r.State == StateGot {
			return r
		}
	}
	if err := os.WriteFile("/tmp/over", nil, 0o600); err != nil {
		return no("create", err)
	}
	if err := unix.Mount(resolver, "/tmp/over", "", unix.MS_BIND, ""); err != nil {
		return r
	}
	return connectUnix(w, "/tmp/over")
}

// tryChrootResolver makes /run the root: the path is then another one.
func tryChrootResolver(w *World) Result {
	if err := unix.Chroot("/run"); err != nil {
		return no("chroot", err)
	}
	if err := os.Chdir("/"); err != nil {
		return no("chdir", err)
	}
	return connectUnix(w, "/nscd/socket")
}

// tryOverlay looks at the socket through a file system of its own.
func tryOverlay(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	if err := os.Mkdir("/tmp/lower", 0o755); err != nil {
		return no("mkdir", err)
	}
	if err := unix.Mount("overlay", dir, "overlay", 0, "lowerdir=/tmp/lower:"+filepath.Dir(resolver)); err != nil {
		return no("mount", err)
	}
	return connectUnix(w, dir+"/socket")
}

// tryOutOfChroot has a /proc in its chroot. What is said there of oneself is about
// who asks, and that is not to be adit.
func tryOutOfChroot(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	if err := os.Mkdir(dir+"/proc", 0o755); err != nil {
		return no("mkdir", err)
	}
	if err := unix.Mount("/proc", dir+"/proc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return no("bind /proc", err)
	}
	if err := os.Symlink(w.Path, dir+"/link"); err != nil {
		return no("symlink", err)
	}
	if err := unix.Chroot(dir); err != nil {
		return no("chroot", err)
	}
	if err := os.Chdir("/"); err != nil {
		return no("chdir", err)
	}
	return connectUnix(w, w.Path, "/proc/self/../self/root"+w.Path, "/proc/thread-self/../../self/root"+w.Path,
		"/proc/self/root/link", "/proc/self/cwd/link", "/link")
}

// tryWrongType hears EPROTOTYPE of a socket that is there, and nothing is sent.
func tryWrongType(w *World) Result {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	err = unix.Sendto(fd, []byte(w.canary()), 0, &unix.SockaddrUnix{Name: resolver})
	if err == nil {
		return got("sendto " + resolver)
	}
	return noSuch("sendto "+resolver, err, unix.EPROTOTYPE)
}
