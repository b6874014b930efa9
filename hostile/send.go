package hostile

import (
	"net/netip"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// moment is how long to wait for an answer that hardly comes.
const moment = 300 * time.Millisecond

// to returns a as the kernel takes it, for a socket of IPv6 if v6.
func to(a netip.AddrPort, v6 bool) unix.Sockaddr {
	if v6 {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

func family(v6 bool) int {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// A prepare does something with a socket before it is used. A result other than
// the zero one is the attempt's.
type prepare func(w *World, fd int) Result

// datagrams sends a canary from a new UDP socket to each target.
func datagrams(w *World, v6 bool, before prepare) Result {
	fd, err := unix.Socket(family(v6), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return no("socket", err)
	}
	defer unix.Close(fd)
	if before != nil {
		if r := before(w, fd); r.State != "" {
			return r
		}
	}
	return sendTo(w, fd, v6, w.targets(v6))
}

// sendTo sends a canary by fd to each of the targets.
func sendTo(w *World, fd int, v6 bool, targets []netip.AddrPort) Result {
	return toEach(targets, func(t netip.AddrPort) error {
		return unix.Sendto(fd, []byte(w.canary()), 0, to(t, v6))
	})
}

// toEach calls send for each target. What was sent once is sent.
func toEach(targets []netip.AddrPort, send func(netip.AddrPort) error) Result {
	if len(targets) == 0 {
		return missing("an address of this family")
	}
	r := Result{}
	for _, t := range targets {
		if err := send(t); err != nil && r.State != StateSent {
			r = no("send", err)
		} else if err == nil {
			r = sent()
		}
	}
	return r
}

// streams connects to each target and, where somebody accepts, writes a canary.
func streams(w *World, v6 bool, protocol int, targets []netip.AddrPort, before prepare) Result {
	var refusal Result
	r := toEach(targets, func(t netip.AddrPort) error {
		fd, err := unix.Socket(family(v6), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		if err != nil {
			refusal = noSuch("socket", err)
			return err
		}
		defer unix.Close(fd)
		if before != nil {
			if refusal = before(w, fd); refusal.State != "" {
				return unix.EPERM
			}
		}
		return connectAndSay(w, fd, to(t, v6))
	})
	if refusal.State != "" {
		return refusal
	}
	return r
}

// connectAndSay connects fd, which does not block. A refusal by the other side
// and silence are as good as success: something was sent.
func connectAndSay(w *World, fd int, a unix.Sockaddr) error {
	err := unix.Connect(fd, a)
	if err == unix.EINPROGRESS {
		ready(fd, unix.POLLOUT)
		n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		err = nil
		if n != 0 {
			err = unix.Errno(n)
		}
		if err == unix.ECONNREFUSED || err == unix.ECONNRESET {
			return nil
		}
	}
	if err == nil {
		say(w, fd)
	}
	return err
}

// say writes a canary to a connected socket and waits until it is acknowledged
// by an end of the connection or a moment has gone by.
func say(w *World, fd int) {
	unix.Write(fd, []byte(w.canary()))
	unix.Shutdown(fd, unix.SHUT_WR)
	ready(fd, unix.POLLIN)
}

// ready waits a moment for events on fd.
func ready(fd int, events int16) bool {
	end := time.Now().Add(moment)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, int(max(0, time.Until(end).Milliseconds())))
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}

// sendHere sends canaries of both families from whichever network the thread is
// in: what is done with a network that was got hold of.
func sendHere(w *World) Result {
	r := datagrams(w, false, nil)
	if r6 := datagrams(w, true, nil); r6.State == StateSent {
		return r6
	}
	return r
}

// inode returns the number of a namespace, 0 if it cannot be told.
func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// isHosts reports whether the thread is in the host's network, and the host is
// another than where the list runs.
func isHosts(w *World) bool { return inode("/proc/thread-self/ns/net") == w.NetNS }

// readable returns the beginning of a file.
func readable(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.Read(b)
	return strings.TrimSpace(string(b[:max(0, n)])), err
}

// rawSendto is sendto with an address that package unix does not know.
func rawSendto(fd int, b, a []byte) error {
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(&a[0])), uintptr(len(a)))
	if errno != 0 {
		return errno
	}
	return nil
}
