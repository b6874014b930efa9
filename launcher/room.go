package launcher

import (
	"fmt"
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

// fewProcesses is the limit on processes up to which it is worth the time to
// count them.
const fewProcesses = 8192

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
	// Root is not counted.
	if uid := os.Getuid(); uid != 0 && unix.Getrlimit(unix.RLIMIT_NPROC, &processes) == nil && processes.Cur <= fewProcesses {
		if free := below0(processes.Cur, threadsOf(uid)); free < threadsNeeded {
			return errTooFew("processes and threads", free, threadsNeeded, hintProcesses)
		}
	}
	return nil
}

// below0 returns a-b, 0 if that is less.
func below0(a, b uint64) uint64 { return max(a, b) - b }

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
