package launcher

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rtSigaction is rt_sigaction(2) with a signal set of 8 bytes.
func rtSigaction(sig syscall.Signal, act *kernelSigaction) {
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), 0, 8, 0, 0)
}
