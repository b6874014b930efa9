package launcher

import (
	"fmt"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What a run needs at its peak, all of its processes together or the one that
// needs most, and a few more: with less it fails in the middle, and Go's runtime
// does so with a trace of itself.
const (
	filesNeeded   = 26 // descriptors beyond the caller's, for the engine
	threadsNeeded = 40 // threads of all the processes
)

// checkRoom returns an error if the caller's limits leave no room for a run.
func checkRoom() error {
	var files, processes unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < 1024 {
		fds, _ := openDescriptors()
		// The front has descriptors of its own by now, the engine starts without.
		if free := below0(files.Cur, uint64(3+len(fds))); free < filesNeeded {
			return errTooFew("open files", free, filesNeeded, hintFiles)
		}
	}
	// Root is not counted. To count a user's threads takes 7 µs for each process of
	// the machine: only where all of the machine's would be too many.
	if uid := os.Getuid(); uid != 0 && unix.Getrlimit(unix.RLIMIT_NPROC, &processes) == nil &&
		below0(processes.Cur, threadsOfAll()) < threadsNeeded {
		if free := below0(processes.Cur, threadsOf(uid)); free < threadsNeeded {
			return errTooFew("processes and threads", free, threadsNeeded, hintProcesses)
		}
	}
	return nil
}

// below0 returns a-b, 0 if that is less.
func below0(a, b uint64) uint64 { return max(a, b) - b }

// threadsOfAll returns how many threads the machine has, which is at least as many
// as any user has; if it cannot tell, the largest number.
func threadsOfAll() uint64 {
	b, _ := os.ReadFile("/proc/loadavg")
	var load [3]float64
	var running, all uint64
	// 0.20 0.18 0.12 1/80 11206: proc(5).
	if _, err := fmt.Sscanf(string(b), "%g %g %g %d/%d", &load[0], &load[1], &load[2], &running, &all); err != nil {
		return math.MaxUint64
	}
	return all
}

// threadsOf returns how many threads a user has (proc(5), /proc/PID/status).
func threadsOf(uid int) (n uint64) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		b, _ := os.ReadFile("/proc/" + e.Name() + "/status")
		var threads uint64
		owner := -1
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
				fmt.Sscan(rest, &owner)
			} else if rest, ok := strings.CutPrefix(line, "Threads:"); ok {
				fmt.Sscan(rest, &threads)
			}
		}
		if owner == uid {
			n += threads
		}
	}
	return n
}
