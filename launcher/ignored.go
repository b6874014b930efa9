package launcher

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// entryIgnored is filled by the program's entry point (entry_linux_*.s), before
// Go's runtime starts and puts its own handlers in: bit n is set when signal n
// was ignored, bit 0 says that the entry point ran. It is 0 in binaries linked
// without -E adit_entry, such as test binaries.
var entryIgnored uint64

// ignoredSignals returns the set of signals that the caller of this process
// had set to be ignored, as bits 1<<n. nohup and the shell's trap and & make
// use of this, and the command must find it as it would without adit.
//
// Go's runtime replaces SIG_IGN by a handler of its own at start, except for
// SIGHUP and SIGINT and those whose default it leaves alone. Without the entry
// point only those are known.
func ignoredSignals() uint64 {
	if entryIgnored&1 != 0 {
		return entryIgnored &^ 1
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			set, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return set << 1 // the kernel counts signal 1 as bit 0
		}
	}
	return 0
}

// kernelSigaction is struct kernel_sigaction of rt_sigaction(2), large enough
// for every architecture that adit is built for.
type kernelSigaction struct {
	handler  uintptr
	flags    uintptr
	restorer uintptr
	mask     [2]uint64
}

const (
	sigDfl = 0
	sigIgn = 1
)

// setDisposition sets signal sig to SIG_DFL or SIG_IGN behind the back of Go's
// runtime. Only for a process that is about to execve or to die by sig.
func setDisposition(sig syscall.Signal, handler uintptr) {
	act := kernelSigaction{handler: handler}
	rtSigaction(sig, &act)
}

// restoreIgnored makes the signals of set ignored, as they were for our caller.
func restoreIgnored(set uint64) {
	for sig := syscall.Signal(1); sig < 32; sig++ {
		if set&(1<<sig) != 0 && sig != unix.SIGKILL && sig != unix.SIGSTOP {
			setDisposition(sig, sigIgn)
		}
	}
}
