package broker

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ConnectUnix is connect(2) of a socket that is not of IP, fd, on behalf of thread
// tid: of a unix socket mostly. The address has been read from the program's memory
// once, and nothing that the program does meanwhile can put another in its place.
// Sockets of resolver daemons refuse.
//
// The other end sees this process's pid in the credentials (SO_PEERCRED), and the
// user of the thread.
func (b *Broker) ConnectUnix(ctx context.Context, tid, fd int, sa []byte) syscall.Errno {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return errnoOf(err)
	}
	if family != unix.AF_UNIX && family != unix.AF_NETLINK {
		return unix.EACCES // one that somebody outside has handed over
	}
	path, isPath := unixPath(sa)
	if !isPath {
		return connectUntil(ctx, fd, sa)
	}
	b.resolvers.see()
	errno := unix.EACCES
	err = AsThread(tid, func() {
		socket, err := openAs(tid, path)
		if err != nil {
			errno = errnoOf(err)
			return
		}
		defer unix.Close(socket)
		if b.resolvers.has(socket) {
			errno = unix.ECONNREFUSED
			return
		}
		errno = connectUntil(ctx, fd, unixAddress(fmt.Sprintf("/proc/self/fd/%d", socket)))
	})
	if err != nil {
		return unix.EACCES
	}
	return errno
}

// connectUntil is connect(2) that ctx ends. A unix socket that blocks waits as long as the
// listener's queue is full, or SO_SNDTIMEO lasts (unix(7)), and nothing else ends that but
// a signal to the thread: it waits for a short time again and again.
func connectUntil(ctx context.Context, fd int, sa []byte) syscall.Errno {
	limit, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if err != nil || isNonblocking(fd) {
		return rawConnect(fd, sa)
	}
	defer unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, limit)
	left := time.Duration(limit.Nano())
	for {
		turn := connectTurn
		if left > 0 {
			turn = min(turn, left)
		}
		tv := unix.NsecToTimeval(int64(turn))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
			return errnoOf(err)
		}
		begin := time.Now()
		errno := rawConnect(fd, sa)
		switch {
		case errno == unix.EINTR: // a signal of the runtime's
		case errno != unix.EAGAIN:
			return errno
		case ctx.Err() != nil:
			return unix.EINTR
		}
		if limit.Nano() > 0 {
			if left -= time.Since(begin); left <= 0 {
				return unix.EAGAIN
			}
		}
	}
}

// connectTurn is how long such a connect lasts at most when it is not wanted any more.
const connectTurn = 100 * time.Millisecond

// unixPath returns the path in an address of the file system, unix(7).
func unixPath(sa []byte) (string, bool) {
	if len(sa) <= 2 || Family(sa) != unix.AF_UNIX || sa[2] == 0 {
		return "", false
	}
	path, _, _ := bytes.Cut(sa[2:min(len(sa), unix.SizeofSockaddrUnix)], []byte{0})
	return string(path), true
}

func unixAddress(path string) []byte {
	sa := make([]byte, 2, len(path)+3)
	sa[0] = unix.AF_UNIX // little-endian, as all that adit runs on
	sa = append(sa, path...)
	return append(sa, 0)
}
