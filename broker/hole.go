package broker

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A hole is a listener whose queue is full: the kernel drops every further SYN, so
// that a connect to it stays pending, without any event. That is what a program
// must see while its connection through the tunnel is being made.
//
// When it is made, a socket bound to the hole's own address connects to the
// program's. Two SYNs that cross make one connection (RFC 9293 §3.5, simultaneous
// open), without the listener, which would have dropped the program's.
type hole struct {
	at   netip.AddrPort
	fds  []int // the listener, and what fills it
	diag diag
}

// holeBacklog is the queue's length. With 0 the kernel would take the first SYN
// for a flood, and log it.
const holeBacklog = 1

func openHole(addr netip.Addr) (*hole, error) {
	fd, at, err := listenOn(addr, true)
	if err != nil {
		return nil, err
	}
	h := &hole{at: at, fds: []int{fd}}
	for range holeBacklog + 1 { // listen(2): one more than the backlog fits
		plug, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			h.fds = append(h.fds, plug)
			err = unix.Connect(plug, toUnix(unix.AF_INET, at))
		}
		if err != nil {
			h.Close()
			return nil, os.NewSyscallError("connect on lo", err)
		}
	}
	plug := h.fds[1]
	from, err := nativeLocal(plug)
	if err == nil {
		err = h.diag.open(plug, from, at)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// pull joins the program's socket, whose connect to the hole from local is pending, to a new socket, which it returns. The program may have closed it, and
// what is at local by now be a listener of the host's, or the next socket of the
// program's: to whom the new one is connected is looked at before and after.
func (h *hole) pull(local netip.AddrPort, who identity) (int, error) {
	if !local.Addr().Is4() || local.Port() == 0 || !h.diag.is(local, h.at, who) {
		return -1, unix.ECONNRESET
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = share(fd); err == nil {
		err = unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")
	}
	if err == nil {
		err = errors.Join(noDelay(fd), unix.Bind(fd, toUnix(unix.AF_INET, h.at)))
	}
	if err == nil {
		err = unix.Connect(fd, toUnix(unix.AF_INET, local))
	}
	if err == unix.EINPROGRESS {
		err = waitConnected(fd)
	}
	if err == nil && !h.diag.is(local, h.at, who) {
		err = errors.Join(unix.ECONNRESET, abort(fd))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// abort has close(2) break a connection, without a word.
func abort(fd int) error {
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// waitConnected waits for the end of a connect on lo.
func waitConnected(fd int) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, int(claimWait.Milliseconds()))
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

func (h *hole) Close() {
	for _, fd := range h.fds {
		unix.Close(fd)
	}
	h.diag.close()
}
