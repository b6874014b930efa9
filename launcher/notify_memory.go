package launcher

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// A caller is a thread of the command whose system call is being answered.
type caller struct{ tid int }

// maxRead bounds what is read of a program at once: a whole datagram fits, and no
// number in the program's memory makes us want more.
const maxRead = 1 << 17

// read copies n bytes from the thread's memory. EPERM: it may not be looked at.
func (c caller) read(at uint64, n int) ([]byte, syscall.Errno) {
	switch {
	case n == 0:
		return nil, 0
	case n < 0 || n > maxRead:
		return nil, unix.EINVAL
	}
	b := make([]byte, n)
	got, err := unix.ProcessVMReadv(c.tid, iovec(b),
		[]unix.RemoteIovec{{Base: uintptr(at), Len: n}}, 0)
	if err != nil {
		return nil, memoryErrno(err)
	}
	if got != n {
		return nil, unix.EFAULT
	}
	return b, 0
}

// write copies b into the thread's memory.
func (c caller) write(at uint64, b []byte) syscall.Errno {
	if len(b) == 0 {
		return 0
	}
	n, err := unix.ProcessVMWritev(c.tid, iovec(b),
		[]unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if err != nil {
		return memoryErrno(err)
	}
	if n != len(b) {
		return unix.EFAULT
	}
	return 0
}

func iovec(b []byte) []unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return []unix.Iovec{v}
}

// memoryErrno tells what is wrong with an address from a thread that may not be
// looked at.
func memoryErrno(err error) syscall.Errno {
	switch err {
	case unix.EPERM, unix.ESRCH: // ESRCH: it has ended, and nobody hears the answer
		return err.(syscall.Errno)
	}
	return unix.EFAULT
}

// maxSockaddr is the size of struct sockaddr_storage: the kernel takes no more.
const maxSockaddr = 128

// sockaddr reads an address that a call is given.
func (c caller) sockaddr(at uint64, size uint64) ([]byte, syscall.Errno) {
	n := int32(uint32(size))
	if n < 0 || n > maxSockaddr {
		return nil, unix.EINVAL
	}
	return c.read(at, int(n))
}

// putSockaddr writes an address where a call wants it: as much as there is room
// for, and how long it is.
func (c caller) putSockaddr(at, lenAt uint64, sa []byte) syscall.Errno {
	b, errno := c.read(lenAt, 4)
	if errno != 0 {
		return errno
	}
	room := int32(binary.NativeEndian.Uint32(b))
	if room < 0 {
		return unix.EINVAL
	}
	if errno := c.write(at, sa[:min(int(room), len(sa))]); errno != 0 {
		return errno
	}
	binary.NativeEndian.PutUint32(b, uint32(len(sa)))
	return c.write(lenAt, b)
}

// A msghdr is a struct msghdr in a program's memory, sendmsg(2), of 64-bit
// programs: the filter refuses others.
type msghdr struct {
	at                  uint64 // where it is
	name                uint64
	nameLen             uint32
	iov                 []unix.RemoteIovec
	size                int // of all of iov
	control, controlLen uint64
}

const (
	msghdrLen  = 56
	mmsghdrLen = 64 // and msg_len, and padding
	iovecLen   = 16
	maxIov     = 1024 // UIO_MAXIOV
)

// msghdr reads the one at an address.
func (c caller) msghdr(at uint64) (m msghdr, errno syscall.Errno) {
	b, errno := c.read(at, msghdrLen)
	if errno != 0 {
		return m, errno
	}
	// name (8), namelen (4), pad (4), iov (8), iovlen (8), control (8),
	// controllen (8), flags (4), pad (4)
	u64 := binary.NativeEndian.Uint64
	m = msghdr{at: at, name: u64(b), nameLen: binary.NativeEndian.Uint32(b[8:]), control: u64(b[32:]), controlLen: u64(b[40:])}
	n := u64(b[24:])
	if n > maxIov {
		return m, unix.EMSGSIZE
	}
	m.iov, m.size, errno = c.iovecs(u64(b[16:]), int(n))
	return m, errno
}

// iovecs reads n struct iovec.
func (c caller) iovecs(at uint64, n int) (list []unix.RemoteIovec, size int, errno syscall.Errno) {
	b, errno := c.read(at, n*iovecLen)
	if errno != 0 {
		return nil, 0, errno
	}
	for ; len(b) > 0; b = b[iovecLen:] {
		base, length := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
		if int64(length) < 0 {
			return nil, 0, unix.EINVAL
		}
		length = min(length, maxRead)
		list = append(list, unix.RemoteIovec{Base: uintptr(base), Len: int(length)})
		size = min(size+int(length), maxRead)
	}
	return list, size, 0
}

// gather reads what the parts of a message hold.
func (c caller) gather(m *msghdr) ([]byte, syscall.Errno) {
	if m.size == 0 {
		return nil, 0
	}
	b := make([]byte, 0, m.size)
	for _, v := range m.iov {
		part, errno := c.read(uint64(v.Base), min(v.Len, m.size-len(b)))
		if errno != 0 {
			return nil, errno
		}
		b = append(b, part...)
	}
	return b, 0
}

// scatter writes b into the parts of a message.
func (c caller) scatter(m *msghdr, b []byte) syscall.Errno {
	for _, v := range m.iov {
		n := min(v.Len, len(b))
		if errno := c.write(uint64(v.Base), b[:n]); errno != 0 {
			return errno
		}
		b = b[n:]
	}
	return 0
}

// finish writes back what a received message says of itself.
func (c caller) finish(m *msghdr, nameLen, controlLen, flags int) syscall.Errno {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(nameLen))
	if errno := c.write(m.at+8, b[:]); errno != 0 {
		return errno
	}
	var rest [12]byte // controllen (8), flags (4)
	binary.NativeEndian.PutUint64(rest[:], uint64(controlLen))
	binary.NativeEndian.PutUint32(rest[8:], uint32(flags))
	return c.write(m.at+40, rest[:])
}
