package broker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ConnectUnix is connect(2) of a socket that is not of IP, fd, on behalf of thread
// tid: of a unix socket mostly. The address has been read from the program's memory
// once, and nothing that the program does meanwhile can put another in its place.
// Sockets of resolver daemons refuse.
//
// The other end sees this process's pid in the credentials (SO_PEERCRED), and the
// user of the thread.
func (b *Broker) ConnectUnix(tid, fd int, sa []byte) syscall.Errno {
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		return errnoOf(err)
	} else if family == unix.AF_INET || family == unix.AF_INET6 {
		return unix.EACCES // one that somebody outside has handed over
	}
	path, isPath := unixPath(sa)
	if !isPath {
		return rawConnect(fd, sa)
	}
	errno := unix.EACCES
	err := AsThread(tid, func() {
		socket, err := openAs(tid, path)
		if err != nil {
			errno = errnoOf(err)
			return
		}
		defer unix.Close(socket)
		if b.isResolver(socket) {
			errno = unix.ECONNREFUSED
			return
		}
		errno = rawConnect(fd, unixAddress(fmt.Sprintf("/proc/self/fd/%d", socket)))
	})
	if err != nil {
		return unix.EACCES
	}
	return errno
}

// unixPath returns the path in an address of the file system, unix(7).
func unixPath(sa []byte) (string, bool) {
	if len(sa) <= 2 || Family(sa) != unix.AF_UNIX || sa[2] == 0 {
		return "", false
	}
	path, _, _ := bytes.Cut(sa[2:min(len(sa), unix.SizeofSockaddrUnix)], []byte{0})
	return string(path), true
}

func unixAddress(path string) []byte {
	sa := make([]byte, 2, len(path)+3)
	sa[0] = unix.AF_UNIX // little-endian, as all that adit runs on
	sa = append(sa, path...)
	return append(sa, 0)
}

// openAs opens the file that path leads thread tid to, without touching it.
func openAs(tid int, path string) (int, error) {
	of, ownRoot := "/proc/"+strconv.Itoa(tid), hasOwnRoot(tid)
	// What is said of oneself is said of the thread, not of us.
	for _, self := range []string{"/proc/self/", "/proc/thread-self/"} {
		rest, is := strings.CutPrefix(path, self)
		if is && ownRoot {
			path = of + "/" + rest
		} else if is {
			return unix.Open(of+"/"+rest, unix.O_PATH|unix.O_CLOEXEC, 0)
		}
	}
	base, rest := of+"/cwd", path
	if strings.HasPrefix(path, "/") {
		base, rest = of+"/root", strings.TrimLeft(path, "/")
	}
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if ownRoot {
		// Links are its own, too, and lead nowhere else.
		how.Resolve |= unix.RESOLVE_IN_ROOT
	}
	fd, err := unix.Openat2(dir, rest, how)
	if (err == unix.ENOSYS || err == unix.EPERM) && !ownRoot {
		return unix.Openat(dir, rest, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// hasOwnRoot reports whether thread tid sees another root than we do.
func hasOwnRoot(tid int) bool {
	var ours, theirs unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/root", tid), &theirs)
	return err != nil || unix.Stat("/", &ours) != nil || ours.Dev != theirs.Dev || ours.Ino != theirs.Ino
}

// isResolver reports whether socket, an open file, is that of a resolver daemon,
// under whatever name it was found.
func (b *Broker) isResolver(socket int) bool {
	var st unix.Stat_t
	if unix.Fstat(socket, &st) != nil {
		return true
	}
	for _, dir := range b.cfg.Resolvers {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			var s unix.Stat_t
			if unix.Stat(filepath.Join(dir, e.Name()), &s) == nil && s.Dev == st.Dev && s.Ino == st.Ino {
				return true
			}
		}
	}
	return false
}
