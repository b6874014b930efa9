package broker

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AsThread runs f with the user and groups of thread tid: what that may not reach,
// it does not reach by us, and what only that user may look at, we may.
func AsThread(tid int, f func()) error {
	theirs, err := credentialsOf(strconv.Itoa(tid))
	if err != nil {
		return err
	}
	if !theirs.others() {
		f()
		return nil
	}
	done := make(chan error)
	go func() {
		// The thread is not fit for anything else afterwards: it ends.
		runtime.LockOSThread()
		err := theirs.take()
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

// credentials are those by which the kernel decides about files and sockets.
type credentials struct {
	uid, gid int
	groups   []uint32
}

// credentialsOf reads them of a thread (proc(5), /proc/PID/status).
func credentialsOf(tid string) (c credentials, err error) {
	text, err := os.ReadFile("/proc/" + tid + "/status")
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(text)) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		switch {
		case key == "Uid" && len(fields) == 4:
			c.uid, err = strconv.Atoi(fields[1])
		case key == "Gid" && len(fields) == 4:
			c.gid, err = strconv.Atoi(fields[1])
		case key == "Groups":
			for _, f := range fields {
				n, _ := strconv.ParseUint(f, 10, 32)
				c.groups = append(c.groups, uint32(n))
			}
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// IsOthers reports whether thread tid runs as another user than we, or in another
// group.
func IsOthers(tid int) bool {
	c, err := credentialsOf(strconv.Itoa(tid))
	return err == nil && c.others()
}

func (c credentials) others() bool { return c.uid != os.Geteuid() || c.gid != os.Getegid() }

// take gives them to this thread alone.
func (c credentials) take() error {
	var groups unsafe.Pointer
	if len(c.groups) > 0 {
		groups = unsafe.Pointer(&c.groups[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.groups)), uintptr(groups), 0)
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(c.gid), uintptr(c.gid), uintptr(c.gid))
	}
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(c.uid), uintptr(c.uid), uintptr(c.uid))
	}
	if errno != 0 {
		return errno
	}
	return nil
}
