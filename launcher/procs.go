package launcher

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nameProcess gives this process the name that ps shows: started as
// /proc/self/exe, it would be "exe". execve gives the command its own.
func nameProcess(name string) {
	b, err := unix.BytePtrFromString(name)
	if err != nil {
		return
	}
	// The name of the process is that of its first thread, which any thread
	// can set here; prctl(PR_SET_NAME) would name the calling one.
	if os.WriteFile("/proc/self/comm", []byte(name), 0) != nil {
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
	}
}

// childrenOf returns the pids of the processes whose parent is pid, zombies
// left out. It reads /proc: the list may be old when it is used, but a child of
// our own stays ours until we have waited for it.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, state, parent, ok := procStat(n); ok && parent == pid && state != 'Z' {
			children = append(children, n)
		}
	}
	return children
}

// strangers returns those children of this process that live in another network
// namespace, or under more filters than we: what the command has left us, and not
// what our own caller had started before it became adit by exec.
func strangers() []int {
	if childless() {
		return nil // what is so mostly, and asked in one system call
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil
	}
	var out []int
	for _, pid := range childrenOf(os.Getpid()) {
		// A process in another user namespace does not even let us look.
		if theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net"); err != nil || theirs != ours || isConfinedProcess(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// isConfinedProcess reports whether a process is the command's in a mode without
// namespaces, or is about to be.
func isConfinedProcess(pid int) bool {
	if name, _, _, found := procStat(pid); found && name == stageName {
		return true
	}
	return filtersOf(strconv.Itoa(pid)) > filtersOf("self")
}

// filtersOf returns how many seccomp filters a process is under (proc(5),
// /proc/PID/status, Linux 5.9).
func filtersOf(pid string) int {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if s, found := strings.CutPrefix(line, "Seccomp_filters:"); found {
			n, _ := strconv.Atoi(strings.TrimSpace(s))
			return n
		}
	}
	return 0
}

// childless reports whether this process has no child, ended or not.
func childless() bool {
	const look = unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED | unix.WNOHANG | unix.WNOWAIT | unix.WALL
	return unix.Waitid(unix.P_ALL, 0, nil, look, nil) == unix.ECHILD
}

// endStrangers ends the strangers: TERM, and KILL to what is still there after
// timeout. It returns when there is none. Who loses its parent on the way
// becomes a stranger too; nothing tells of that, so it looks again and again.
func endStrangers(timeout time.Duration) { endAll(strangers, timeout) }

// endAll ends the processes that list returns, until it returns none.
func endAll(list func() []int, timeout time.Duration) {
	begin := time.Now()
	told := make(map[int]bool)
	for {
		pids := list()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			switch {
			case time.Since(begin) >= timeout:
				unix.Kill(pid, unix.SIGKILL)
			case !told[pid]:
				told[pid] = true
				unix.Kill(pid, unix.SIGTERM)
				unix.Kill(pid, unix.SIGCONT)
			}
		}
		time.Sleep(endPause)
	}
}

// endPause is the time between two looks at what is left.
const endPause = 10 * time.Millisecond

// procStat returns name, state and parent of a process (proc(5), /proc/PID/stat).
func procStat(pid int) (name string, state byte, parent int, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", 0, 0, false
	}
	// The name is in parentheses and may itself contain any character.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0, 0, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 2 {
		return "", 0, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return string(b[open+1 : end]), fields[0][0], parent, err == nil
}

// openDescriptors returns the numbers of this process's open descriptors from 3
// on that are not close-on-exec, and so came from the caller.
func openDescriptors() ([]int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < 3 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// closeInherited closes the caller's descriptors from 3 on, but for keep. Ours
// are close-on-exec, which tells them apart. What cannot be found stays open: for
// those who only should not hold on to a pipe.
func closeInherited(keep int) {
	fds, _ := openDescriptors()
	for _, fd := range fds {
		if fd != keep {
			unix.Close(fd)
		}
	}
}
