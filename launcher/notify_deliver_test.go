package launcher

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"syscall"
	"testing"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// untouched is in a program's memory where nothing is to be written.
const untouched = 0xaa

// region returns memory of a program's in which what is written shows. It does not
// move.
func region() []byte { return bytes.Repeat([]byte{untouched}, 8192) }

// wantWithin fails if more than n bytes of a region were written.
func wantWithin(t *testing.T, what string, b []byte, n uint64) {
	t.Helper()
	if n < uint64(len(b)) && bytes.Count(b[n:], []byte{untouched}) != len(b)-int(n) {
		t.Errorf("%s: written behind the %d bytes of room", what, n)
	}
}

// Whatever room a program says that it has, no more is written, and what it is told of
// lengths is true.
func FuzzDeliver(f *testing.F) {
	f.Add(uint32(16), uint64(24), uint64(3), uint64(8), uint64(100), []byte("a datagram"), make([]byte, 16), make([]byte, 24))
	f.Add(uint32(1<<31), uint64(0), uint64(0), uint64(1<<63), uint64(1), []byte("x"), make([]byte, 28), []byte{1})
	f.Add(uint32(0), uint64(1<<63), uint64(1<<40), uint64(0), uint64(0), []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, nameRoom uint32, controlRoom, one, two, three uint64, payload, from, control []byte) {
		from, payload, control = from[:min(len(from), 28)], payload[:min(len(payload), 4096)], control[:min(len(control), 4096)]
		name, ctl, parts := region(), region(), [][]byte{region(), region(), region()}
		rooms := []uint64{one, two, three}
		iov := region()[:0]
		for i, p := range parts {
			iov = binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(iov, at(p)), rooms[i])
		}
		h := region()
		put := binary.NativeEndian.PutUint64
		put(h, at(name))
		binary.NativeEndian.PutUint32(h[8:], nameRoom)
		put(h[16:], at(iov))
		put(h[24:], 3)
		put(h[32:], at(ctl))
		put(h[40:], controlRoom)
		c := self()
		m, errno := c.msghdr(at(h))
		if errno != 0 {
			return
		}
		got := min(len(payload), m.size) // as Receive has it
		errno = c.deliver(&m, &broker.Received{Payload: payload[:got], From: from, Control: control})
		runtime.KeepAlive(iov)
		wantWithin(t, "name", name, uint64(nameRoom))
		wantWithin(t, "control", ctl, controlRoom)
		left := payload[:got]
		for i, p := range parts {
			wantWithin(t, "part", p, rooms[i])
			n := int(min(rooms[i], uint64(len(left))))
			if errno == 0 && !bytes.Equal(p[:n], left[:n]) {
				t.Errorf("part %d: got %x, want %x", i, p[:n], left[:n])
			}
			left = left[n:]
		}
		if errno != 0 {
			t.Fatalf("got %v with pointers that lead somewhere", errno)
		}
		flags := binary.NativeEndian.Uint32(h[48:])
		if n := binary.NativeEndian.Uint64(h[40:]); n > controlRoom || n != uint64(len(control)) && flags&unix.MSG_CTRUNC == 0 {
			t.Errorf("got %d bytes of control messages, flags %#x, want %d", n, flags, len(control))
		}
		if n := binary.NativeEndian.Uint32(h[8:]); int(n) != len(from) {
			t.Errorf("got a name of %d bytes, want %d", n, len(from))
		}
	})
}

// The same of addresses and options, whose room stands in memory of its own.
func FuzzLengthsByReference(f *testing.F) {
	for _, room := range []int32{0, 1, 16, 28, 128, -1, -1 << 31} {
		f.Add(room, make([]byte, 28))
	}
	f.Fuzz(func(t *testing.T, room int32, value []byte) {
		value = value[:min(len(value), 4096)]
		c := self()
		for what, write := range map[string]func(at, lenAt uint64) syscall.Errno{
			"an address": func(at, lenAt uint64) syscall.Errno { return c.putSockaddr(at, lenAt, value) },
			"an option": func(at, lenAt uint64) syscall.Errno {
				c.arg[3], c.arg[4] = at, lenAt
				return c.putOption(value)
			},
		} {
			b, length := region(), binary.NativeEndian.AppendUint32(region()[:0], uint32(room))
			if errno := write(at(b), at(length)); (errno != 0) != (room < 0) {
				t.Errorf("%s, room for %d: got %v", what, room, errno)
			}
			n := uint64(max(room, 0))
			wantWithin(t, what, b, n)
			if k := min(n, uint64(len(value))); !bytes.Equal(b[:k], value[:k]) {
				t.Errorf("%s, room for %d: got %x, want %x", what, room, b[:k], value[:k])
			}
		}
	})
}
