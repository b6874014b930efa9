package launcher

import (
	"os"

	"golang.org/x/sys/unix"
)

// streamOnLo makes a TCP socket that is bound to lo for good: without
// CAP_NET_RAW that cannot be undone (socket(7)).
func streamOnLo() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.BindToDevice(fd, "lo"); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// tryLoopback connects one such socket to another: the broker's business.
func tryLoopback() error {
	l, err := streamOnLo()
	if err != nil {
		return step(stepBindToLo, err)
	}
	defer unix.Close(l)
	c, err := streamOnLo()
	if err != nil {
		return step(stepBindToLo, err)
	}
	defer unix.Close(c)
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return step(stepLoopback, err)
	}
	if err := unix.Listen(l, 1); err != nil {
		return step(stepLoopback, err)
	}
	at, err := unix.Getsockname(l)
	if err != nil {
		return step(stepLoopback, err)
	}
	if err := unix.Connect(c, at); err != nil && err != unix.EINPROGRESS {
		return step(stepLoopback, err)
	}
	return step(stepLoopback, connected(c))
}

// connected waits for the end of a connect that does not block.
func connected(fd int) error {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(ready, int(probePatience.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		return err
	}
}
