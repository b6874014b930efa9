package hostile

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCP fast open: calls that send, and connect by the way.
var fastOpenAttempts = category("fast open", usual(tunnel(), tunnel(unix.EOPNOTSUPP), refused(unix.EACCES)),
	&Attempt{Name: "tcp-fastopen", Does: "data with the first packet (sendto, MSG_FASTOPEN)", Control: Everybody, try: tryFastOpen},
	&Attempt{Name: "fastopen6", Does: "the same by IPv6", Control: Everybody, try: tryFastOpen6},
	&Attempt{Name: "fastopen-sendmsg", Does: "the same by sendmsg", Control: Everybody, try: tryFastSendmsg},
	&Attempt{Name: "fastopen-sendmmsg", Does: "the same by sendmmsg", Control: Everybody, try: tryFastSendmmsg},
	&Attempt{Name: "fastopen-connect", Does: "a connect that waits for the first data (TCP_FASTOPEN_CONNECT)", Control: Everybody, try: tryFastConnect},
	&Attempt{Name: "fastopen-loopback", Does: "to a listener of the host's on loopback", Control: Everybody, Expect: notHere, try: tryFastLoopback},
	&Attempt{Name: "fastopen-loopback-sendmsg", Does: "the same by sendmsg and sendmmsg", Control: Everybody, Expect: notHere, try: tryFastLoopbackSendmsg},
	&Attempt{Name: "fastopen-loopback-connect", Does: "the same by TCP_FASTOPEN_CONNECT", Control: Everybody, Expect: notHere, try: tryFastLoopbackConnect},
	&Attempt{Name: "fastopen-high-bits", Does: "with bits above an int in every argument, which the kernel does not look at", Control: Everybody,
		Expect: notHere, try: tryFastHighBits},
	&Attempt{Name: "fastopen-high-address", Does: "with an address in memory whose lower half is 0", Control: Everybody, Expect: notHere, try: tryFastHighAddress},
)

// notHere is what comes of a connection to the host's loopback: there is nobody on
// the command's own.
var notHere = inNamespace(own(unix.ECONNREFUSED)).seccomp(own(unix.ECONNREFUSED, unix.EOPNOTSUPP, unix.EPIPE, unix.ENOTCONN))

// fastOpen makes a socket for each target, which send sends a first packet by.
func fastOpen(w *World, v6 bool, targets []netip.AddrPort, send func(fd int, t netip.AddrPort) error) Result {
	return toEach(targets, func(t netip.AddrPort) error {
		fd, err := unix.Socket(family(v6), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		err = send(fd, t)
		ready(fd, unix.POLLOUT)
		say(w, fd)
		if err == unix.EINPROGRESS {
			return nil
		}
		return err
	})
}

func (w *World) loopbacks() []netip.AddrPort { return []netip.AddrPort{w.loopback(false)} }

// bySendto is a send for fastOpen.
func bySendto(w *World, v6 bool) func(int, netip.AddrPort) error {
	return func(fd int, t netip.AddrPort) error {
		return unix.Sendto(fd, []byte(w.canary()), unix.MSG_FASTOPEN, to(t, v6))
	}
}

func tryFastOpen(w *World) Result {
	return fastOpen(w, false, w.targets(false), bySendto(w, false))
}

func tryFastOpen6(w *World) Result { return fastOpen(w, true, w.targets(true), bySendto(w, true)) }

func tryFastLoopback(w *World) Result {
	return fastOpen(w, false, w.loopbacks(), bySendto(w, false))
}

func bySendmsg(w *World) func(int, netip.AddrPort) error {
	return func(fd int, t netip.AddrPort) error {
		return unix.Sendmsg(fd, []byte(w.canary()), nil, to(t, false), unix.MSG_FASTOPEN)
	}
}

func tryFastSendmsg(w *World) Result { return fastOpen(w, false, w.targets(false), bySendmsg(w)) }

// bySendmmsg sends one message by sendmmsg(2).
func bySendmmsg(w *World) func(int, netip.AddrPort) error {
	return func(fd int, t netip.AddrPort) error {
		name, text := inet4(t), []byte(w.canary())
		iov := &unix.Iovec{Base: &text[0]}
		iov.SetLen(len(text))
		m := &mmsghdr{header: unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: iov}}
		m.header.SetIovlen(1)
		_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), 1, unix.MSG_FASTOPEN, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// inet4 returns struct sockaddr_in.
func inet4(t netip.AddrPort) []byte {
	b := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	binary.BigEndian.PutUint16(b[2:], t.Port())
	copy(b[4:], t.Addr().AsSlice())
	return b
}

func tryFastSendmmsg(w *World) Result { return fastOpen(w, false, w.targets(false), bySendmmsg(w)) }

func tryFastLoopbackSendmsg(w *World) Result {
	r := fastOpen(w, false, w.loopbacks(), bySendmsg(w))
	if r2 := fastOpen(w, false, w.loopbacks(), bySendmmsg(w)); r2.State == StateSent {
		return r2
	}
	return r
}

// byConnect sets the option, connects, and only then writes.
func byConnect(w *World) func(int, netip.AddrPort) error {
	return func(fd int, t netip.AddrPort) error {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
			return err
		}
		if err := unix.Connect(fd, to(t, false)); err != nil && err != unix.EINPROGRESS {
			return err
		}
		_, err := unix.Write(fd, []byte(w.canary()))
		if err == unix.EAGAIN {
			return nil // it is not connected yet
		}
		return err
	}
}

func tryFastConnect(w *World) Result { return fastOpen(w, false, w.targets(false), byConnect(w)) }

func tryFastLoopbackConnect(w *World) Result { return fastOpen(w, false, w.loopbacks(), byConnect(w)) }

// tryFastHighBits sets bits that a filter which compares whole registers takes for
// other values. Registers of 32 bits have none.
func tryFastHighBits(w *World) Result {
	width := 32
	high := uintptr(1) << width
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, high|unix.AF_INET, high|unix.SOCK_STREAM|unix.SOCK_NONBLOCK, high)
	if errno != 0 {
		return no("socket", errno)
	}
	name, text := inet4(w.loopback(false)), []byte(w.canary())
	_, _, errno = unix.Syscall6(unix.SYS_SENDTO, high|fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), high|unix.MSG_FASTOPEN,
		uintptr(unsafe.Pointer(&name[0])), high|uintptr(len(name)))
	ready(int(fd), unix.POLLOUT)
	say(w, int(fd))
	if errno != 0 && errno != unix.EINPROGRESS {
		return no("sendto", errno)
	}
	return sent()
}
