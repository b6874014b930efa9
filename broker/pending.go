package broker

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pendAfter is how long a call that waits may find its connection, before the socket's
// own connect begins to pend: only then is there anything for others to see, and only
// then could a signal have come between. A peer that is near is faster.
const pendAfter = time.Millisecond

// pend has the socket of a dial wait in the hole, so that it looks as one does whose
// connect is pending: to those who poll it, while a thread waits or after a signal, or
// SO_SNDTIMEO, has ended the call (connect(2), EINTR).
func (b *Broker) pend(d *dial) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.decided || d.pends {
		return ok
	}
	if errno := connectLater(d.fd, toUnix(d.family, b.lo.hole.at)); errno != unix.EINPROGRESS {
		return errno
	}
	native, err := nativeLocal(d.fd)
	if err != nil {
		return errnoOf(err)
	}
	if !native.Addr().Is4() || native.Port() == 0 {
		return unix.EINPROGRESS // and shutdown(2) has ended it: the socket is idle
	}
	d.pends, d.native, d.who = true, native, identityOf(d.ino, d.fd)
	local := d.local
	if !local.IsValid() {
		local, _ = b.route(d.far)
	}
	b.streams.mu.Lock()
	d.local = netip.AddrPortFrom(local.Addr(), native.Port())
	b.streams.mu.Unlock()
	if b.cfg.Borrow != nil {
		// A copy would keep the socket, should the program close it.
		d.close()
	}
	return ok
}

// withoutWaiting are flags by which sendto(2) of nothing is a connect that does not wait.
const withoutWaiting = unix.MSG_FASTOPEN | unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// connectLater is a connect(2) that does not wait, also of a socket that blocks:
// TCP fast open without any data (tcp(7), MSG_FASTOPEN) knows MSG_DONTWAIT.
func connectLater(fd int, to unix.Sockaddr) syscall.Errno {
	if isNonblocking(fd) {
		return errnoOf(unix.Connect(fd, to))
	}
	err := unix.Sendto(fd, nil, withoutWaiting, to)
	if err != unix.EOPNOTSUPP { // net.ipv4.tcp_fastopen is 0
		return errnoOf(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return errnoOf(err)
	}
	defer unix.SetNonblock(fd, false)
	return errnoOf(unix.Connect(fd, to))
}

// fail ends the pending connect of the program's socket. Who waits for it hears of an
// error, and asks which: the kernel's own is a refusal, with all its events. A
// socket that cannot be had any more is reached by its address: the connection is made,
// and broken.
func (b *Broker) fail(d *dial) {
	s := &b.streams
	s.mu.Lock()
	d.ends = true
	remember(s.failed, d.ino, failure{errno: d.errno})
	s.mu.Unlock()
	fd := d.fd
	if fd < 0 && b.cfg.Borrow != nil {
		if fd = b.cfg.Borrow(d.ino); fd >= 0 {
			defer unix.Close(fd)
		}
	}
	if fd < 0 {
		if end, err := b.lo.hole.pull(d.native, d.who); err == nil {
			abort(end)
			unix.Close(end)
		}
		return
	}
	b.refuse(d.family, fd)
}

// refuse makes a socket one whose connect has been refused. In between it looks as if
// it had been reset; that is no longer than the kernel needs for the two calls, if it
// does not let the one who waits for the socket run first.
func (b *Broker) refuse(family, fd int) {
	nobody, nonblock := sockaddr(family, b.lo.nobody), isNonblocking(fd)
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified[0])), uintptr(len(unspecified)))
	if nonblock {
		unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&nobody[0])), uintptr(len(nobody)))
		return
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, withoutWaiting,
		uintptr(unsafe.Pointer(&nobody[0])), uintptr(len(nobody)))
	if errno == unix.EOPNOTSUPP {
		connectLater(fd, toUnix(family, b.lo.nobody))
	}
}

// idle ends the connect of a socket without a word.
func idle(fd int) {
	rawConnect(fd, unspecified)
	unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
}
