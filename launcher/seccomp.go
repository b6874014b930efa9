package launcher

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The seccomp user notification (seccomp_unotify(2)): the kernel's structures
// and the five calls on the listener. Who serves a command is notify*.go; who
// finds out whether it can be done here is probe_seccomp.go.

// A notifRequest is one system call that waits for an answer. It must be zero
// before it is received into.
type notifRequest struct {
	id    uint64 // names this call; the target's death or a signal ends its meaning
	pid   uint32 // the thread that made it, in our pid namespace
	flags uint32 // none so far
	nr    int32
	arch  uint32 // AUDIT_ARCH_…
	ip    uint64
	args  [6]uint64
}

// A notifResponse answers a call: with a value, an error (negative errno), or
// by letting the kernel do it (continueCall).
type notifResponse struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// A notifFD puts a copy of one of our descriptors into the caller's table.
type notifFD struct {
	id       uint64
	flags    uint32 // addFD…
	src      uint32 // ours
	at       uint32 // its number there, with addFDAt
	newFlags uint32 // O_CLOEXEC or 0
}

const (
	// continueCall has the kernel go on with the call as if nobody had asked.
	// The arguments may then be others than those that were looked at.
	continueCall = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	addFDAt      = unix.SECCOMP_ADDFD_FLAG_SETFD
	addFDSend    = unix.SECCOMP_ADDFD_FLAG_SEND // and answer the call with the number, in one step

	ioctlNotifReceive = unix.SECCOMP_IOCTL_NOTIF_RECV
	ioctlNotifSend    = unix.SECCOMP_IOCTL_NOTIF_SEND
	ioctlNotifIDValid = 0x40082102
	ioctlNotifAddFD   = 0x40182103
	ioctlNotifFlags   = 0x40082104 // Linux 6.6

	notifySyncWakeUp = unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
)

// seccompListener installs filter on the calling thread, which must be locked to
// its goroutine and have no_new_privs or CAP_SYS_ADMIN, and on all that it
// becomes. It returns the listener, close-on-exec, where the calls that the
// filter notifies of arrive: for this thread too, which must make none of them
// before somebody serves it.
//
// A signal that reaches a waiting caller cancels its call (no
// WAIT_KILLABLE_RECV), so that its handler runs on time. The caller may then
// make the same call again.
func seccompListener(filter []unix.SockFilter) (fd int, err error) {
	return setFilter(filter, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
}

// setFilter installs filter on the calling thread and on all that it becomes.
func setFilter(filter []unix.SockFilter, flags uintptr) (int, error) {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, os.NewSyscallError("seccomp", errno)
	}
	return int(r), nil
}

// notifReceive waits for a call. ENOENT says that there was one and it is
// cancelled: wait again. Once every process with the filter is gone, some kernels
// wait here for ever: poll first, POLLHUP is the end.
func notifReceive(fd int, req *notifRequest) error {
	*req = notifRequest{}
	_, err := notifCall(fd, ioctlNotifReceive, unsafe.Pointer(req))
	return err
}

// notifSend answers a call. ENOENT: nobody waits for it any more.
func notifSend(fd int, resp *notifResponse) error {
	_, err := notifCall(fd, ioctlNotifSend, unsafe.Pointer(resp))
	return err
}

// notifIDValid reports whether the caller still waits for the answer, so that
// what was read by its thread number before was read from it and not from a
// process that has inherited the number.
func notifIDValid(fd int, id uint64) bool {
	_, err := notifCall(fd, ioctlNotifIDValid, unsafe.Pointer(&id))
	return err == nil
}

// notifAddFD puts a descriptor into the caller's table and returns its number
// there. With addFDSend it is made in one piece, whatever signals come: the kernel
// marks the call as answered before it waits for the caller to take the descriptor.
// If a signal ends that waiting, as the one by which Go preempts may, the caller is
// answered 0 and has no descriptor (seen with Linux 6.18).
func notifAddFD(fd int, a *notifFD) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, old := allSignals, unix.Sigset_t{}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return -1, err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	return notifCall(fd, ioctlNotifAddFD, unsafe.Pointer(a))
}

// allSignals is what a thread blocks that must not be interrupted.
var allSignals = func() (s unix.Sigset_t) {
	for i := range s.Val {
		s.Val[i] = ^s.Val[i]
	}
	return s
}()

// notifWakeHere asks the kernel to wake who waits on the CPU of who answers: an
// answer is a hand-over. A kernel that does not know it is as good, only slower.
func notifWakeHere(fd int) {
	unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifFlags, notifySyncWakeUp)
}

// notifCall makes one call on the listener. One that a signal interrupted has
// done nothing, and is made again.
func notifCall(fd int, request uintptr, arg unsafe.Pointer) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		if errno == 0 {
			return int(r), nil
		}
		if errno != unix.EINTR {
			return -1, errno
		}
	}
}
