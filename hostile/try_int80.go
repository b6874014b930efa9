package hostile

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ordinary sockets, and what their own system calls will not do with them done by
// other doors.

// borrowed is what to expect of those: the socket is whatever socket(2) gave.
var borrowed = usual(own(unix.ECONNREFUSED, unix.ENOSYS, unix.EPERM), refused(unix.ENOSYS, unix.EPERM), refused(unix.EACCES))

// More numbers of i386, and of socketcall(2).
const (
	nr32Ioctl      = 54
	nr32RequestKey = 287
	nr32Connect    = 362
	nr32PidfdGetfd = 438
	callConnect    = 3
)

// lowName puts struct sockaddr_in where a 32-bit call can name it.
func lowName(t netip.AddrPort) ([]byte, error) {
	b, err := low(4096)
	if err == nil {
		copy(b, inet4(t))
	}
	return b, err
}

// connect32 connects fd with the calls of 32-bit programs, and says so.
func connect32(w *World, fd int, t netip.AddrPort, viaSocketcall bool) error {
	b, err := lowName(t)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	if viaSocketcall {
		_, err = socketcall(b[2048:], callConnect, uintptr(fd), address(b), unix.SizeofSockaddrInet4)
	} else {
		_, err = int80(nr32Connect, uintptr(fd), address(b), unix.SizeofSockaddrInet4, 0, 0, 0)
	}
	if err == unix.EINPROGRESS {
		ready(fd, unix.POLLOUT)
		err = nil
	}
	if err == nil {
		say(w, fd)
	}
	return err
}

func tryInt80TCP(w *World) Result {
	fd, err := int80(nr32Socket, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0, 0, 0, 0)
	if err != nil {
		return noSuch("socket", err, unix.ENOSYS)
	}
	if err := connect32(w, int(fd), w.targets(false)[0], false); err != nil {
		return no("connect", err)
	}
	return sent()
}

// borrow makes a socket of TCP by socket(2) and gives it to use.
func borrow(use func(fd int) error) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := use(fd); err != nil {
		return no("connect", err)
	}
	return sent()
}

func tryInt80Borrowed(w *World) Result {
	return borrow(func(fd int) error { return connect32(w, fd, w.loopback(false), false) })
}

func trySocketcallBorrowed(w *World) Result {
	return borrow(func(fd int) error { return connect32(w, fd, w.loopback(false), true) })
}

func tryInt80FastOpen(w *World) Result {
	return borrow(func(fd int) error {
		b, err := lowName(w.loopback(false))
		if err != nil {
			return err
		}
		text := copy(b[1024:], w.canary())
		_, err = int80(nr32Sendto, uintptr(fd), address(b[1024:]), uintptr(text), unix.MSG_FASTOPEN, address(b), unix.SizeofSockaddrInet4)
		if err == unix.EINPROGRESS {
			ready(fd, unix.POLLOUT)
			err = nil
		}
		say(w, fd)
		return err
	})
}

func tryX32Borrowed(w *World) Result {
	return borrow(func(fd int) error {
		if _, err := x32Socket(unix.AF_INET, unix.SOCK_STREAM); err == unix.ENOSYS {
			return err // and so are the others
		}
		name := inet4(w.loopback(false))
		_, _, errno := unix.Syscall(x32Bit+42, uintptr(fd), address(name), uintptr(len(name)))
		if errno != 0 && errno != unix.EINPROGRESS {
			return errno
		}
		ready(fd, unix.POLLOUT)
		say(w, fd)
		return nil
	})
}

func tryInt80Getfd(w *World) Result {
	if w.Victim.PID == 0 {
		return missing("a victim")
	}
	pidfd, err := unix.PidfdOpen(w.Victim.PID, 0)
	if err != nil {
		return no("pidfd_open", err)
	}
	fd, err := int80(nr32PidfdGetfd, uintptr(pidfd), uintptr(w.Victim.Socket), 0, 0, 0, 0)
	if err != nil {
		return no("pidfd_getfd", err)
	}
	sendTo(w, int(fd), false, w.targets(false))
	return got("pidfd_getfd")
}

func tryInt80Terminal(*World) Result {
	fd, err := terminal()
	if err != nil {
		return missing("a terminal")
	}
	b, err := low(4096)
	if err != nil {
		return missing("memory of 32-bit programs")
	}
	if _, err := int80(nr32Ioctl, uintptr(fd), unix.TIOCSTI, address(b), 0, 0, 0); err != nil {
		return noSuch("ioctl(TIOCSTI)", err, unix.ENOTTY)
	}
	return got("ioctl(TIOCSTI)")
}

func tryInt80Key(w *World) Result {
	b, err := low(4096)
	if err != nil {
		return missing("memory of 32-bit programs")
	}
	copy(b, "dns_resolver")
	copy(b[1024:], w.question())
	if _, err := int80(nr32RequestKey, address(b), address(b[1024:]), address(b[2048:]), 0, 0, 0); err != nil {
		return no("request_key", err)
	}
	return got("request_key")
}

func tryBeyond(w *World) Result {
	for _, nr := range []uintptr{1 << 31, 1<<31 | 41, 512 + 41, 0x20000000 + 41, 1<<16 + 41} {
		if _, _, errno := unix.RawSyscall(nr, unix.AF_INET, unix.SOCK_DGRAM, 0); errno == 0 {
			return sendHere(w)
		}
	}
	return no("socket", unix.ENOSYS)
}

// ringName returns struct sockaddr_in and a canary in memory that stays where it is
// while the kernel reads it.
func ringName(w *World, t netip.AddrPort) (name, text []byte) {
	return keep(inet4(t)), keep([]byte(w.canary()))
}

// kept is what the kernel reads by its address, which must not move: a stack does.
var kept [][]byte

func keep(b []byte) []byte {
	kept = append(kept, b)
	return b
}

func tryRingTCP(w *World) Result {
	r, err := newRing()
	if err != nil {
		return no("io_uring_setup", err)
	}
	fd, err := r.socket(unix.AF_INET, unix.SOCK_STREAM)
	if err != nil {
		return no("socket", err)
	}
	return r.connect(w, fd, w.targets(false)[0])
}

// A ringMessage is struct msghdr, and what it points to.
type ringMessage struct {
	header unix.Msghdr
	iov    unix.Iovec
}

// lastMessage keeps one where it is.
//
//lint:ignore U1000 it is only written to
var lastMessage *ringMessage

// connect connects fd by the ring, and writes a canary to it.
func (r *ring) connect(w *World, fd int, t netip.AddrPort) Result {
	name, text := ringName(w, t)
	if _, err := r.do(opConnect, int32(fd), uint64(len(name)), uint64(address(name)), 0); err != nil {
		return no("connect", err)
	}
	if _, err := r.do(opSend, int32(fd), 0, uint64(address(text)), uint32(len(text))); err != nil {
		return no("send", err)
	}
	say(w, fd)
	return sent()
}

func tryRingBorrowed(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	r, err := newRing()
	if err != nil {
		return no("io_uring_setup", err)
	}
	return r.connect(w, fd, w.loopback(false))
}

func tryRingSendmsg(w *World) Result {
	r, err := newRing()
	if err != nil {
		return no("io_uring_setup", err)
	}
	control := keep(unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link), Spec_dst: w.Host4.As4()}))
	return toEach(w.targets(false), func(t netip.AddrPort) error {
		fd, err := r.socket(unix.AF_INET, unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		name, text := ringName(w, t)
		m := &ringMessage{header: unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Control: &control[0]}, iov: unix.Iovec{Base: &text[0]}}
		m.iov.SetLen(len(text))
		m.header.Iov = &m.iov
		m.header.SetIovlen(1)
		m.header.SetControllen(len(control))
		lastMessage = m
		_, err = r.do(opSendmsg, int32(fd), 0, uint64(uintptr(unsafe.Pointer(m))), 1)
		return err
	})
}
