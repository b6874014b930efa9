package launcher

import (
	"runtime"
	"sync"
)

// engineThreads and otherThreads are how many threads the engine has at least before the
// command starts, and each other process of adit's, which the command may be faster than,
// soon afterwards.
const (
	engineThreads = 8
	otherThreads  = 5
)

// keepThreads sees to it that this process has n threads, which Go's runtime keeps. It
// makes one whenever all that it has are in the kernel, and ends the process if there
// cannot be any more: when the command has taken all processes that its user may have
// (RLIMIT_NPROC, pids.max).
func keepThreads(n int) {
	var all, over sync.WaitGroup
	all.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
		})
	}
	over.Wait()
}
