package broker

import (
	"bytes"
	"context"
	"fmt"
	"syscall"

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
		return b.connectUntil(ctx, fd, sa)
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
		errno = b.connectUntil(ctx, fd, unixAddress(fmt.Sprintf("/proc/self/fd/%d", socket)))
	})
	if err != nil {
		return unix.EACCES
	}
	return errno
}

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
