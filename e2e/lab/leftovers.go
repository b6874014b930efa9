package lab

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Snapshot is what exists on the host at one moment, by kind and name.
type Snapshot map[string]bool

// Snapshot lists the host's processes and the namespaces they are in, mounts
// of this mount namespace, and the files where a program of the user might
// leave some.
func (l *Lab) Snapshot() Snapshot {
	s := Snapshot{}
	s.addProcesses()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for m := range strings.Lines(string(mounts)) {
		s["mount "+strings.TrimSpace(m)] = true
	}
	for _, root := range []string{l.User.Home, "/run", "/etc", "/dev/shm", "/dev/mqueue"} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil {
				s["file "+path] = true
			}
			return nil
		})
	}
	locks := fmt.Sprintf("/tmp/adit-%d", l.User.UID) // the folder of locks without a run-time folder
	if _, err := os.Lstat(locks); err == nil {
		s["file "+locks] = true
	}
	links, _ := net.Interfaces() // /sys would show the machine's
	for _, link := range links {
		s["interface "+link.Name] = true
	}
	return s
}

// Since returns what s has and before had not, sorted.
func (s Snapshot) Since(before Snapshot) []string {
	var more []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if !before[k] {
			more = append(more, k)
		}
	}
	return more
}

// addProcesses lists this process's descendants (the lab's process is their
// subreaper, so that none gets lost) and their network namespaces.
func (s Snapshot) addProcesses() {
	for _, p := range Descendants(os.Getpid()) {
		if p.State == 'Z' {
			continue
		}
		s[fmt.Sprintf("process %d %s", p.PID, p.Command)] = true
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.PID)); err == nil {
			s["namespace "+ns] = true
		}
	}
}

// Adopt makes this process the parent of every orphan among its descendants,
// so that [Lab.Snapshot] finds daemons too.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// A Process is one line of the process table.
type Process struct {
	PID, Parent int
	State       byte   // as proc_pid_stat(5) has it
	Command     string // argv, or comm in brackets
}

// Descendants returns the processes below pid.
func Descendants(pid int) []Process {
	children := map[int][]Process{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := ReadProcess(n); ok {
				children[p.Parent] = append(children[p.Parent], p)
			}
		}
	}
	var all []Process
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			all = append(all, p)
			queue = append(queue, p.PID)
		}
	}
	return all
}

// ReadProcess looks a process up; false if there is none.
func ReadProcess(pid int) (Process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	// comm may hold anything, brackets too: the fields start after the last.
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < 0 {
		return Process{}, false
	}
	f := strings.Fields(string(stat[end+1:]))
	if len(f) < 2 {
		return Process{}, false
	}
	parent, _ := strconv.Atoi(f[1])
	p := Process{PID: pid, Parent: parent, State: f[0][0], Command: string(stat[open : end+1])}
	if argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); len(argv) > 0 {
		p.Command = strings.TrimSpace(strings.ReplaceAll(string(argv), "\x00", " "))
	}
	return p, true
}
