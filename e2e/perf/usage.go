package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"adit/e2e/lab"
)

// A usage is what processes have used up to a moment. Two of one set of
// processes make a [spent].
type usage struct {
	user, system float64       // seconds, in ticks of 1/100 s: proc_pid_stat(5), utime and stime
	exact        map[int]int64 // ns on a processor by thread: /proc/PID/task/TID/schedstat
	switches     map[int]int64 // voluntary context switches by thread: proc_pid_status(5)
}

// A spent is what processes have used between two moments.
type spent struct {
	user, system float64 // seconds
	switches     float64 // voluntary context switches
}

func (s spent) cpu() float64 { return s.user + s.system }

// usageOf adds up what the processes have used, with all their threads.
func usageOf(pids ...int) (usage, error) {
	u := usage{exact: map[int]int64{}, switches: map[int]int64{}}
	for _, pid := range pids {
		if err := u.add(pid); err != nil {
			return usage{}, err
		}
	}
	return u, nil
}

func (u *usage) add(pid int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	user, system, err := parseStat(b)
	if err != nil {
		return fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	u.user += user
	u.system += system
	tasks := fmt.Sprintf("/proc/%d/task", pid)
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return err
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if b, err := os.ReadFile(tasks + "/" + e.Name() + "/schedstat"); err == nil {
			if f := strings.Fields(string(b)); len(f) > 0 {
				u.exact[tid], _ = strconv.ParseInt(f[0], 10, 64)
			}
		}
		if b, err := os.ReadFile(tasks + "/" + e.Name() + "/status"); err == nil {
			u.switches[tid] = statusField(b, "voluntary_ctxt_switches")
		}
	}
	return nil
}

// parseStat returns utime and stime in seconds.
func parseStat(b []byte) (user, system float64, err error) {
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const utime, stime, ticks = 11, 12, 100 // counted from the field after comm
	if len(f) <= stime {
		return 0, 0, errors.New("too short")
	}
	u, err1 := strconv.ParseFloat(f[utime], 64)
	s, err2 := strconv.ParseFloat(f[stime], 64)
	return u / ticks, s / ticks, errors.Join(err1, err2)
}

// statusField returns the number of one line of /proc/PID/status, 0 if there is
// none.
func statusField(b []byte, name string) int64 {
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, _ := strconv.ParseInt(f[0], 10, 64)
				return n
			}
		}
	}
	return 0
}

// since returns what was used after the earlier moment before. The kernel
// counts a thread's time exactly, and says in ticks how it divides: as long as
// no thread has ended the exact time is taken.
func (u usage) since(before usage) spent {
	s := spent{user: u.user - before.user, system: u.system - before.system}
	var exact int64
	whole := len(u.exact) > 0
	for tid, ns := range u.exact {
		exact += ns - before.exact[tid]
	}
	for tid := range before.exact {
		if _, still := u.exact[tid]; !still {
			whole = false
		}
	}
	if ticks := s.user + s.system; whole && ticks > 0 {
		scale := float64(exact) / 1e9 / ticks
		s.user *= scale
		s.system *= scale
	}
	for tid, n := range u.switches {
		s.switches += float64(n - before.switches[tid])
	}
	return s
}

// familyOf returns the processes of a program that runs a command: the one that
// was started and those below it, less the command's.
func familyOf(pid, command int) []int {
	family := []int{pid}
	theirs := map[int]bool{command: true}
	for _, p := range lab.Descendants(pid) { // parents before children
		if theirs[p.PID] || theirs[p.Parent] {
			theirs[p.PID] = true
			continue
		}
		family = append(family, p.PID)
	}
	return family
}
