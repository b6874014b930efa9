package link

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// A kernel is the system calls of the hot path, and those by which a kernel says
// what it can do. Tests put functions of their own in place, to be a kernel that
// lacks something or fails.
type kernel struct {
	release    func() string // as uname -r
	socket     func(family, typ, proto int) (int, error)
	getsockopt func(fd, level, opt int) (int, error)
	setsockopt func(fd, level, opt, value int) error
	setOffload func(fd, flags int) error // TUNSETOFFLOAD

	read     func(fd int, p []byte) (int, unix.Errno)
	writev   func(fd int, v []unix.Iovec) (int, unix.Errno)
	recvmmsg func(fd int, m []mmsghdr) (int, unix.Errno)
	sendmmsg func(fd int, m []mmsghdr) (int, unix.Errno)
	writable func(fd int) // waits until fd is writable, but not for long
}

// linux is the kernel that runs this program.
func linux() *kernel {
	return &kernel{
		release: kernelRelease, socket: unix.Socket,
		getsockopt: unix.GetsockoptInt, setsockopt: unix.SetsockoptInt, setOffload: sysSetOffload,
		read: sysRead, writev: sysWritev, recvmmsg: sysRecvmmsg, sendmmsg: sysSendmmsg, writable: sysWritable,
	}
}

func sysSetOffload(fd, flags int) error {
	return os.NewSyscallError("TUNSETOFFLOAD", unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags))
}

// The calls below do not wait, so Go's scheduler need not hear of them: it would
// be told before and after each, and to idle it would mean that something
// runs: its monitor thread is woken up, for a keepalive three wake-ups instead of
// one. What has to wait for them, as the collector does to stop the world, waits
// as long as one of them takes: some 50 µs for the longest.

func sysRead(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func sysWritev(fd int, v []unix.Iovec) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	return int(n), errno
}

func sysRecvmmsg(fd int, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.ENOSYS {
		return recvOne(fd, m)
	}
	return int(n), errno
}

// recvOne is recvmmsg(2) of one message.
func recvOne(fd int, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m[0].hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	m[0].n = uint32(n)
	return 1, 0
}

func sysSendmmsg(fd int, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.ENOSYS {
		return sendOne(fd, m)
	}
	return int(n), errno
}

// sendOne is sendmmsg(2) of one message.
func sendOne(fd int, m []mmsghdr) (int, unix.Errno) {
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m[0].hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	return 1, 0
}

// writableWait bounds the wait for a full send buffer. A device that does not
// drain within it has more wrong with it than a batch lost.
const writableWait = 100 // ms

func sysWritable(fd int) {
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, writableWait)
}
