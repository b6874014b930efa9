package hostile

import "golang.org/x/sys/unix"

// trace traces a thread until it has ended, and makes one call of it another one:
// getppid(2) with the arguments of socket(2). ready is called when it is traced.
func trace(tid int, each bool, ready func()) error {
	options := unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, uintptr(options), 0, 0)
	if errno != 0 {
		return errno
	}
	if err := unix.PtraceInterrupt(tid); err != nil {
		return err
	}
	swapped := false
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(tid, &status, unix.WALL, nil); err != nil || status.Exited() || status.Signaled() {
			return nil
		}
		ready()
		var regs unix.PtraceRegs
		if !swapped && unix.PtraceGetRegs(tid, &regs) == nil && regs.Orig_rax == unix.SYS_GETPPID && regs.Rdi == unix.AF_INET {
			regs.Orig_rax = unix.SYS_SOCKET
			if err := unix.PtraceSetRegs(tid, &regs); err != nil {
				return err
			}
			swapped = true
		}
		if resume(tid, each && !swapped) != nil {
			return nil // it has ended
		}
	}
}

// resume lets a thread go on, to its next call if each. Signals that have stopped
// it are not delivered: none matters here.
func resume(tid int, each bool) error {
	if each {
		return unix.PtraceSyscall(tid, 0)
	}
	return unix.PtraceCont(tid, 0)
}
