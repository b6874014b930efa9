package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RSS returns how much memory a process has resident, in bytes, 0 if there is
// no such process: proc_pid_statm(5).
func RSS(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n * os.Getpagesize()
}

// Switches returns how often the threads of a process have gone to sleep, which
// is as often as they have been woken up: voluntary_ctxt_switches of
// proc_pid_status(5).
func Switches(pid int) (n int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, file := range tasks {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				k, _ := strconv.Atoi(strings.TrimSpace(rest))
				n += k
			}
		}
	}
	return n
}

// CPU returns how long a process has computed, in user space and in the kernel,
// to a hundredth of a second: proc_pid_stat(5), fields 14 and 15.
func CPU(pid int) time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	const tick = time.Second / 100 // sysconf(_SC_CLK_TCK) on every Linux
	return time.Duration(user+system) * tick
}
