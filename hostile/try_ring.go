package hostile

import (
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Just enough of io_uring to make a socket and to send by it (io_uring_setup(2),
// io_uring_enter(2)).

const (
	ringEntries  = 4
	ringGet      = 1 // IORING_ENTER_GETEVENTS
	opSendmsg    = 9
	opConnect    = 16
	opSend       = 26
	opSocket     = 45
	offsetSQRing = 0
	offsetCQRing = 0x8000000
	offsetSQEs   = 0x10000000
	sqeLen       = 64
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// A ring is an io_uring.
type ring struct {
	fd         int
	p          ringParams
	sq, cq, es []byte
}

func newRing() (*ring, error) {
	r := &ring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringEntries, uintptr(unsafe.Pointer(&r.p)), 0)
	if errno != 0 {
		return nil, errno
	}
	r.fd = int(fd)
	var err error
	for _, m := range []struct {
		to     *[]byte
		offset int64
		size   int
	}{
		{&r.sq, offsetSQRing, int(r.p.sq.array) + ringEntries*4},
		{&r.cq, offsetCQRing, int(r.p.cq.cqes) + int(r.p.cqEntries)*16},
		{&r.es, offsetSQEs, ringEntries * sqeLen},
	} {
		if *m.to, err = unix.Mmap(r.fd, m.offset, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func word(b []byte, at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[at])) }

// do submits one entry and returns what it came to.
func (r *ring) do(op byte, fd int32, off, addr uint64, size uint32) (int32, error) {
	slot := atomic.LoadUint32(word(r.sq, r.p.sq.tail)) & *word(r.sq, r.p.sq.mask)
	e := r.es[slot*sqeLen : (slot+1)*sqeLen]
	clear(e)
	// opcode, flags, ioprio, fd, off, addr, len
	e[0] = op
	*(*int32)(unsafe.Pointer(&e[4])) = fd
	*(*uint64)(unsafe.Pointer(&e[8])) = off
	*(*uint64)(unsafe.Pointer(&e[16])) = addr
	*word(e, 24) = size
	*word(r.sq, r.p.sq.array+slot*4) = slot
	atomic.AddUint32(word(r.sq, r.p.sq.tail), 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, ringGet, 0, 0); errno != 0 {
		return 0, errno
	}
	head := atomic.LoadUint32(word(r.cq, r.p.cq.head))
	// user_data (8), res (4), flags (4)
	res := *(*int32)(unsafe.Pointer(&r.cq[r.p.cq.cqes+(head&*word(r.cq, r.p.cq.mask))*16+8]))
	atomic.AddUint32(word(r.cq, r.p.cq.head), 1)
	if res < 0 {
		return 0, unix.Errno(-res)
	}
	return res, nil
}

// socket makes a socket: the family stands in fd, the type in off.
func (r *ring) socket(family, kind int) (int, error) {
	fd, err := r.do(opSocket, int32(family), uint64(kind), 0, 0)
	return int(fd), err
}

func tryRingUDP(w *World) Result {
	r, err := newRing()
	if err != nil {
		return no("io_uring_setup", err)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error {
		fd, err := r.socket(unix.AF_INET, unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, to(t, false)); err != nil {
			return err
		}
		text := []byte(w.canary())
		_, err = r.do(opSend, int32(fd), 0, uint64(uintptr(unsafe.Pointer(&text[0]))), uint32(len(text)))
		return err
	})
}

// tryRing makes a socket of the family, and the filter does not see it.
func tryRing(family, kind int) func(*World) Result {
	return func(*World) Result {
		r, err := newRing()
		if err != nil {
			return no("io_uring_setup", err)
		}
		if _, err := r.socket(family, kind); err != nil {
			if err == unix.ENODEV {
				return missing("socket")
			}
			return no("socket", err)
		}
		return got("socket")
	}
}
