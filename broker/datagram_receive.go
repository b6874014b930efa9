package broker

import (
	"context"
	"encoding/binary"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Received is what recvmsg(2) returns.
type Received struct {
	Payload []byte // not more than was asked for
	From    []byte // sockaddr; nil after shutdown(2)
	Control []byte // raw cmsgs
	Flags   int    // MSG_TRUNC
	Len     int    // of the datagram, before truncation

	whole  []byte
	peeked bool // it is still in the queue
}

// Receive returns the next datagram, of which fd, a descriptor of the program's
// socket, has at most size bytes room. flags are those of recvmsg(2), where MSG_TRUNC
// makes no difference. Unless the socket, or flags, say otherwise it waits, for
// SO_RCVTIMEO at most or until ctx ends: EINTR. What cannot be delivered goes to
// Return.
func (d *Datagram) Receive(ctx context.Context, fd, size, flags int, nonblock bool) (*Received, syscall.Errno) {
	if flags&unix.MSG_ERRQUEUE != 0 {
		return nil, unix.EAGAIN // no extended errors are ever there
	}
	wait := !nonblock && flags&unix.MSG_DONTWAIT == 0
	var by <-chan time.Time
	for first := true; ; first = false {
		r, arrived, errno := d.next(fd, flags&unix.MSG_PEEK != 0)
		if errno == ok {
			r.cut(size)
			return r, ok
		}
		if errno != unix.EAGAIN || !wait {
			return nil, errno
		}
		if first {
			by = timeout(fd, unix.SO_RCVTIMEO)
		}
		select {
		case <-arrived:
		case <-by:
			return nil, unix.EAGAIN
		case <-ctx.Done():
			return nil, unix.EINTR
		case <-d.done: // shutdown(2) of both directions, or the broker's end
			return &Received{}, ok
		}
	}
}

// cut makes of the whole datagram what fits into size bytes.
func (r *Received) cut(size int) {
	r.Len, r.Flags = len(r.whole), 0
	r.Payload = r.whole[:min(max(size, 0), len(r.whole))]
	if len(r.Payload) < r.Len {
		r.Flags = unix.MSG_TRUNC
	}
}

// Return puts back what Receive has taken and the program has not got, as the first
// to be received.
func (d *Datagram) Return(r *Received) {
	if r == nil || r.peeked || r.From == nil {
		return
	}
	in := &d.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return
	}
	in.returned = append([]*Received{r}, in.returned...)
	in.put(tag{}, nil)
}

// next takes the first datagram, if there is any. Else it is EAGAIN, and arrived
// is closed when it is worth another attempt.
func (d *Datagram) next(fd int, peek bool) (r *Received, arrived <-chan struct{}, errno syscall.Errno) {
	in := &d.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if errno := in.pending; errno != ok {
		in.pending = ok
		return nil, nil, errno
	}
	if len(in.returned) > 0 {
		r := in.returned[0]
		if peek {
			peeked := *r
			peeked.peeked = true
			return &peeked, nil, ok
		}
		in.returned = in.returned[1:]
		return r, nil, ok
	}
	r, errno = d.read(fd, peek)
	if errno == unix.EAGAIN {
		if in.arrived == nil {
			in.arrived = make(chan struct{})
		}
		return nil, in.arrived, errno
	}
	return r, nil, errno
}

// read takes a datagram out of the near end's queue, and the markers before it. That
// queue's and the inbox's state belong together, so d.in.mu must be held.
func (d *Datagram) read(fd int, peek bool) (*Received, syscall.Errno) {
	buf := datagramBuffers.Get().(*[maxDatagram]byte)
	defer datagramBuffers.Put(buf)
	flags := unix.MSG_DONTWAIT | unix.MSG_CMSG_CLOEXEC
	if peek {
		flags |= unix.MSG_PEEK
	}
	var control [1024]byte
	for {
		n, nc, got, _, err := unix.Recvmsg(fd, buf[:], control[:], flags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, errnoOf(err)
		}
		t, times, tagged := readControl(control[:nc])
		switch {
		case !tagged && got&unix.MSG_CTRUNC != 0: // no descriptor was free: whose it is cannot be told
			if peek {
				return nil, unix.EAGAIN
			}
			continue
		case !tagged:
			t = d.in.plain
		case t.isMarker():
			if peek { // which did not take it; when it is taken, peek again
				flags ^= unix.MSG_PEEK
			}
			continue
		}
		r := &Received{whole: append([]byte(nil), buf[:n]...), peeked: peek}
		if t.from.IsValid() {
			r.From = sockaddr(d.family, t.from)
			r.Control = append(times, d.opts.receivedControl(d.family, t)...)
		}
		if peek && flags&unix.MSG_PEEK == 0 && r.From != nil { // another thread has read the marker
			kept := *r
			kept.peeked = false
			d.in.returned = append(d.in.returned, &kept)
		}
		return r, ok
	}
}

// readControl reads what came with a datagram: its tag, and the times that the
// program has asked its socket for (SO_TIMESTAMP and the like). Descriptors are closed.
func readControl(b []byte) (t tag, times []byte, tagged bool) {
	list, _ := parseControl(b)
	for _, c := range list {
		switch {
		case c.level == unix.SOL_SOCKET && c.kind == unix.SCM_RIGHTS:
			fds, err := unix.ParseUnixRights(&unix.SocketControlMessage{
				Header: unix.Cmsghdr{Level: c.level, Type: c.kind}, Data: c.data})
			if err != nil {
				continue
			}
			for _, fd := range fds {
				if read, is := readTag(fd); is {
					t, tagged = read, true
				}
				unix.Close(fd)
			}
		case c.level == unix.SOL_SOCKET && c.kind == unix.SCM_PIDFD:
			// The program has asked its socket for it (SO_PASSPIDFD). It is ours.
			if fd := int32(binary.NativeEndian.Uint32(append(c.data, 0, 0, 0, 0))); fd > 0 {
				unix.Close(int(fd))
			}
		case c.level == unix.SOL_SOCKET && isTime(c.kind):
			times = appendCmsg(times, c.level, c.kind, c.data)
		}
	}
	return t, times, tagged
}

func isTime(kind int32) bool {
	switch kind {
	case unix.SO_TIMESTAMP_OLD, unix.SO_TIMESTAMP_NEW, unix.SO_TIMESTAMPNS_OLD, unix.SO_TIMESTAMPNS_NEW:
		return true
	}
	return false
}
