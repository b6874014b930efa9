package hold

import (
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Call is a system call that waits.
type Call struct {
	TID  int // the thread
	NR   int // the number of the call
	Args [6]uint64
}

// A Hold is the listener of one run.
type Hold struct{ fd int }

// Watch takes the listener of process pid, which calls [Enter] or soon will.
func Watch(pid int) (*Hold, error) {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(p)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		fd, err := unix.PidfdGetfd(p, listener, 0)
		if err == nil {
			return &Hold{fd}, nil
		}
		if err != unix.EBADF || time.Now().After(end) {
			return nil, os.NewSyscallError("pidfd_getfd", err)
		}
	}
}

// notification and response are struct seccomp_notif and seccomp_notif_resp of
// linux/seccomp.h.
type notification struct {
	id   uint64
	pid  uint32
	_    uint32
	nr   int32
	arch uint32
	_    uint64 // instruction pointer
	args [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

const (
	ioctlReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	flagContinue = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// Serve calls at for every call, until no process is left that has the filter.
// The call goes on when at has returned, and all others that come meanwhile wait
// too; if at returns a channel, when that is closed, and the others need not wait.
func (h *Hold) Serve(at func(Call) <-chan struct{}) error {
	var later sync.WaitGroup
	defer unix.Close(h.fd)
	defer later.Wait()
	for {
		poll := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return os.NewSyscallError("poll", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return nil // POLLHUP: nobody is left
		}
		var n notification
		switch _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(h.fd), ioctlReceive, uintptr(unsafe.Pointer(&n))); errno {
		case 0:
		case unix.ENOENT, unix.EINTR: // it has been killed meanwhile
			continue
		default:
			return fmt.Errorf("receive a call: %w", errno)
		}
		if c := at(Call{TID: int(n.pid), NR: int(n.nr), Args: n.args}); c != nil {
			later.Go(func() { <-c; h.goOn(n.id) })
			continue
		}
		if err := h.goOn(n.id); err != nil {
			return fmt.Errorf("let a call go on: %w", err)
		}
	}
}

// goOn lets a call go on, unless its process has been killed meanwhile.
func (h *Hold) goOn(id uint64) error {
	r := response{id: id, flags: flagContinue}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(h.fd), ioctlSend, uintptr(unsafe.Pointer(&r)))
	if errno != 0 && errno != unix.ENOENT {
		return errno
	}
	return nil
}
