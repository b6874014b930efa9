package launcher

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// self is this process as a program whose memory is looked at.
func self() *call { return &call{caller: caller{os.Getpid()}} }

func at(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// header lays a struct msghdr out over parts.
func header(name, control []byte, parts ...[]byte) (h []byte, keep func()) {
	iov := make([]byte, 0, iovecLen*len(parts)+1)
	for _, p := range parts {
		var where uint64
		if len(p) > 0 {
			where = at(p)
		}
		iov = binary.NativeEndian.AppendUint64(iov, where)
		iov = binary.NativeEndian.AppendUint64(iov, uint64(len(p)))
	}
	h = make([]byte, msghdrLen)
	put := binary.NativeEndian.PutUint64
	if len(name) > 0 {
		put(h, at(name))
		binary.NativeEndian.PutUint32(h[8:], uint32(len(name)))
	}
	if len(parts) > 0 {
		put(h[16:], at(iov[:1]))
		put(h[24:], uint64(len(parts)))
	}
	if len(control) > 0 {
		put(h[32:], at(control))
		put(h[40:], uint64(len(control)))
	}
	return h, func() { runtime.KeepAlive([]any{name, control, parts, iov}) }
}

func TestMessageIsReadFromThePartsOfAProgramsMemory(t *testing.T) {
	h, keep := header([]byte("name"), []byte("control"), []byte("one "), nil, []byte("two"))
	defer keep()
	m, errno := self().message(at(h))
	if errno != 0 || string(m.To) != "name" || string(m.Control) != "control" || string(m.Payload) != "one two" {
		t.Errorf("got %q, %q, %q, %v", m.To, m.Control, m.Payload, errno)
	}
}

func TestDatagramIsWrittenIntoTheParts(t *testing.T) {
	name, control, one, two := make([]byte, 16), make([]byte, 8), make([]byte, 3), make([]byte, 8)
	h, keep := header(name, control, one, two)
	defer keep()
	c := self()
	m, errno := c.msghdr(at(h))
	if errno != 0 || m.size != 11 {
		t.Fatalf("got %d bytes of room, %v, want 11", m.size, errno)
	}
	r := &broker.Received{Payload: []byte("datagram"), From: bytes.Repeat([]byte{7}, 16), Control: make([]byte, 16), Flags: unix.MSG_TRUNC}
	if errno := c.deliver(&m, r); errno != 0 {
		t.Fatal(errno)
	}
	if string(one) != "dat" || string(two[:5]) != "agram" || !bytes.Equal(name, r.From) {
		t.Errorf("got %q, %q, from %x", one, two, name)
	}
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	if n, cn, flags := u32(h[8:]), u64(h[40:]), u32(h[48:]); n != 16 || cn != 0 || flags != unix.MSG_TRUNC|unix.MSG_CTRUNC {
		t.Errorf("got lengths %d and %d, flags %#x", n, cn, flags)
	}
}

func TestBadPointersAreTheProgramsFault(t *testing.T) {
	c := self()
	h, keep := header(nil, nil, []byte("x"))
	defer keep()
	binary.NativeEndian.PutUint64(h[16:], 8) // where the parts are
	if _, errno := c.message(at(h)); errno != unix.EFAULT {
		t.Errorf("parts that are nowhere: got %v, want EFAULT", errno)
	}
	binary.NativeEndian.PutUint64(h[24:], 1<<40)
	if _, errno := c.message(at(h)); errno != unix.EMSGSIZE {
		t.Errorf("too many parts: got %v, want EMSGSIZE", errno)
	}
	if _, errno := c.message(8); errno != unix.EFAULT {
		t.Errorf("no message there: got %v, want EFAULT", errno)
	}
	if _, errno := c.sockaddr(8, 16); errno != unix.EFAULT {
		t.Errorf("no address there: got %v, want EFAULT", errno)
	}
	for _, size := range []uint64{maxSockaddr + 1, 1 << 31, 0xffffffff} {
		if _, errno := c.sockaddr(at(h), size); errno != unix.EINVAL {
			t.Errorf("an address of %d bytes: got %v, want EINVAL", size, errno)
		}
	}
}

// Whatever a program has in its memory, reading it ends, and takes no more than a
// datagram's room.
func FuzzMessage(f *testing.F) {
	h, keep := header([]byte("name"), []byte("control"), []byte("one "), []byte("two"))
	defer keep()
	f.Add(h, []byte("one two"))
	f.Add(make([]byte, msghdrLen), []byte{})
	f.Add(bytes.Repeat([]byte{0xff}, msghdrLen), []byte("x"))
	f.Fuzz(func(t *testing.T, head, memory []byte) {
		if len(head) < msghdrLen {
			return
		}
		// Some of the pointers lead somewhere.
		if len(memory) > 0 {
			for _, field := range []int{0, 16, 32} {
				if head[field]&1 == 1 {
					binary.NativeEndian.PutUint64(head[field:], at(memory))
				}
			}
		}
		m, errno := self().message(at(head))
		runtime.KeepAlive(memory)
		if errno == 0 && (len(m.Payload) > maxRead || len(m.To) > maxSockaddr || len(m.Control) > maxRead) {
			t.Errorf("got %d, %d and %d bytes", len(m.Payload), len(m.To), len(m.Control))
		}
	})
}
