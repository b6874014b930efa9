package launcher

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A process is another one, held by a descriptor so that its number cannot
// become somebody else's.
type process struct {
	fd  int // -1: none
	pid int // where there is none; 0: it is gone already
}

// openProcess holds process pid. Without pidfd_open(2), before Linux 5.3 or under
// a filter that does not know it, it is known by its number alone.
func openProcess(pid int) process {
	fd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
		return process{fd: fd}
	case unix.ESRCH:
		return process{fd: -1}
	}
	return process{fd: -1, pid: pid}
}

// isGone reports whether a process that is not held has ended.
func (p process) isGone() bool {
	return p.fd < 0 && (p.pid == 0 || unix.Kill(p.pid, 0) == unix.ESRCH)
}

// wait waits until the process has ended.
func (p process) wait() {
	for p.fd < 0 && !p.isGone() {
		time.Sleep(blindPause * time.Millisecond)
	}
	poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for p.fd >= 0 && poll[0].Revents == 0 {
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
			return
		}
	}
}

// companions returns the other processes that live in our user namespace or in
// one below it: in the keeper, all that the command has left. They are found by
// that and not by their parents, which have gone.
func companions() []int {
	var ours unix.Stat_t
	if unix.Stat("/proc/self/ns/user", &ours) != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !isWithin(&ours, pid) {
			continue
		}
		if _, state, _, ok := procStat(pid); ok && state != 'Z' {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isWithin reports whether process pid lives in the user namespace ns or in one
// below it.
func isWithin(ns *unix.Stat_t, pid int) bool {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == nil {
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		if err == nil && st.Dev == ns.Dev && st.Ino == ns.Ino {
			unix.Close(fd)
			return true
		}
		// EPERM above our own: ioctl_ns(2).
		parent, e := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		fd, err = parent, errors.Join(err, e)
	}
	return false
}

// endCompanions ends them as endStrangers does the strangers.
func endCompanions(timeout time.Duration) { endAll(companions, timeout) }
