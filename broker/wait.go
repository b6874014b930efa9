package broker

import (
	"context"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpClose is the state of a TCP socket that is neither connected nor about to be
// (TCP_CLOSE of linux/tcp.h).
const tcpClose = 7

// tcpState returns the state of a TCP socket.
func tcpState(fd int) (uint8, error) {
	var state [1]byte // of struct tcp_info, whose first member it is
	size := uint32(len(state))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&state[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return state[0], nil
}

func isListening(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && n != 0
}

// rawConnect is connect(2) with an address as it is.
func rawConnect(fd int, sa []byte) syscall.Errno {
	var p unsafe.Pointer
	if len(sa) > 0 {
		p = unsafe.Pointer(&sa[0])
	}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(p), uintptr(len(sa)))
	return errno
}

func isNonblocking(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// timeout returns a channel on which the time of SO_RCVTIMEO or SO_SNDTIMEO comes,
// nil for a socket that has none.
func timeout(fd, option int) <-chan time.Time {
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, option)
	if err != nil || tv.Sec == 0 && tv.Usec == 0 {
		return nil
	}
	return time.After(time.Duration(tv.Nano()))
}

// waitFor waits until fd has one of events. by is its timeout, if not nil.
func waitFor(ctx context.Context, fd int, events int16, by <-chan time.Time) syscall.Errno {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(wake)
	ready := make(chan syscall.Errno, 1) // the one word of the poll
	go func() {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}}
		for {
			_, err := unix.Poll(fds, -1)
			if err != unix.EINTR {
				ready <- errnoOf(err)
				return
			}
		}
	}()
	select {
	case errno := <-ready:
		return errno
	case <-ctx.Done():
	case <-by:
	}
	unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-ready
	if ctx.Err() != nil {
		return unix.EINTR
	}
	return unix.EAGAIN
}
