package launcher

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The caller may leave descriptors open for the command: pipes of <(…), a make
// jobserver, the unix sockets of socket activation. They are passed on, but for
// those that are ways out of the namespaces: they were opened outside.
//
// A directory leads out by what lies below it: it belongs to the mounts of the
// host, without our masks. It is opened again by its path, inside, and put in
// the place of the old one.

// closeWaysOut closes or replaces the descriptors of this process that lead out.
// Where the mounts are the host's anyway, directories do not.
func closeWaysOut(confined bool) error {
	fds, err := openDescriptors()
	if err != nil {
		return err
	}
	for _, fd := range append([]int{0, 1, 2}, fds...) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			continue // 0 to 2 may be closed
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR && confined:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			reopen(fd, &st)
		case fd > 2 && leadsOut(fd, &st): // of 0 to 2 the front has warned
			unix.Close(fd)
		}
	}
	return nil
}

// reopen replaces the directory fd by the same one, seen from inside the mount
// namespace. If it is not there, fd is closed.
func reopen(fd int, st *unix.Stat_t) {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	flags, err2 := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil && err2 == nil {
		again, err := unix.Open(path, flags&unix.O_PATH|unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(again)
			var seen unix.Stat_t
			if unix.Fstat(again, &seen) == nil && seen.Dev == st.Dev && seen.Ino == st.Ino && unix.Dup3(again, fd, 0) == nil {
				return
			}
		}
	}
	unix.Close(fd)
}

// The devices by which packets enter a host's network, as major and minor
// (Linux, Documentation/admin-guide/devices.txt, and include/linux/miscdevice.h):
// TUN, vhost-net, vhost-vsock.
var wayOutDevices = [][2]uint32{{10, 200}, {10, 238}, {10, 241}}

// ioUringName is what /proc/PID/fd shows of an io_uring instance, which makes
// sockets for those who have it.
const ioUringName = "anon_inode:[io_uring]"

// leadsOut reports whether fd, of which st is the state, is a way to another
// network: a socket of any family but unix, a network device, a namespace, an
// io_uring.
func leadsOut(fd int, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		return err != nil || family != unix.AF_UNIX
	case unix.S_IFCHR:
		major, minor := unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
		for _, d := range wayOutDevices {
			if major == d[0] && minor == d[1] {
				return true
			}
		}
		return isTap(major)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return true
	}
	if fs.Type == unix.NSFS_MAGIC {
		return true
	}
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err != nil || target == ioUringName
}
