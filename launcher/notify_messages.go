package launcher

import (
	"context"
	"encoding/binary"
	"slices"
	"syscall"
	"time"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// maxDatagram is the largest payload of UDP over IPv4 (udp(7)).
const maxDatagram = 65507

// harmless reports whether a message may go on in the kernel: it may unless it
// connects. flags are those of the call, which the program cannot change any more.
func harmless(flags int) bool { return flags&unix.MSG_FASTOPEN == 0 }

// elsewhere is what becomes of a message that is not sent by a UDP socket.
func (n *notifier) elsewhere(c *call, s *subject, sa []byte, payload func() ([]byte, syscall.Errno), flags int) outcome {
	switch {
	case harmless(flags):
		return goOn
	case !s.stream:
		return failure(unix.EOPNOTSUPP)
	case c.ctx == nil:
		return outcome{waits: true}
	}
	// RFC 7413: connect, and the first bytes with it.
	b, errno := payload()
	if errno != 0 {
		return failure(errno)
	}
	o := n.connectStream(c, s, sa)
	if o.errno != 0 {
		return o
	}
	sent, err := unix.SendmsgN(s.fd, b, nil, nil, flags&^unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL)
	o.value, o.errno = int64(sent), errnoOf(err)
	return o
}

func (n *notifier) sendto(c *call) outcome {
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	flags := int(int32(c.arg[3]))
	if s.datagram == nil && harmless(flags) {
		return goOn
	}
	var m broker.Message
	if c.arg[4] != 0 {
		if m.To, errno = c.sockaddr(c.arg[4], c.arg[5]); errno != 0 {
			return failure(errno)
		}
	}
	payload := func() ([]byte, syscall.Errno) { return c.read(c.arg[1], int(min(c.arg[2], maxRead))) }
	if s.datagram == nil {
		return n.elsewhere(c, s, m.To, payload, flags)
	}
	if c.arg[2] > maxDatagram {
		return failure(unix.EMSGSIZE)
	}
	if m.Payload, errno = payload(); errno != 0 {
		return failure(errno)
	}
	return n.send(c, s, m, flags)
}

// send sends a datagram. The first time it does not wait.
func (n *notifier) send(c *call, s *subject, m broker.Message, flags int) outcome {
	nonblock := flags&unix.MSG_DONTWAIT != 0 || s.fd >= 0 && isNonblocking(s.fd)
	ctx, once := c.ctx, c.ctx == nil
	if once {
		ctx = context.Background()
	}
	m.Flags = flags
	sent, errno := s.datagram.Send(ctx, m, nonblock || once)
	if errno == unix.EAGAIN && once && !nonblock {
		return outcome{waits: true}
	}
	return final(sent, errno)
}

// message reads what a struct msghdr says is to be sent.
func (c *call) message(at uint64) (m broker.Message, errno syscall.Errno) {
	h, errno := c.msghdr(at)
	if errno != 0 {
		return m, errno
	}
	if h.name != 0 && h.nameLen != 0 {
		if m.To, errno = c.sockaddr(h.name, uint64(h.nameLen)); errno != 0 {
			return m, errno
		}
	}
	if h.controlLen > maxRead {
		return m, unix.ENOBUFS
	}
	if h.control != 0 {
		if m.Control, errno = c.read(h.control, int(h.controlLen)); errno != 0 {
			return m, errno
		}
	}
	m.Payload, errno = c.gather(&h)
	return m, errno
}

func (n *notifier) sendmsg(c *call) outcome {
	flags := int(int32(c.arg[2]))
	if harmless(flags) && !n.broker.HasDatagrams() {
		return goOn
	}
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	if s.datagram == nil && harmless(flags) {
		return goOn
	}
	m, errno := c.message(c.arg[1])
	if errno != 0 {
		return failure(errno)
	}
	if s.datagram == nil {
		return n.elsewhere(c, s, m.To, func() ([]byte, syscall.Errno) { return m.Payload, 0 }, flags)
	}
	return n.send(c, s, m, flags)
}

func (n *notifier) sendmmsg(c *call) outcome {
	flags := int(int32(c.arg[3]))
	if !harmless(flags) {
		return failure(unix.EOPNOTSUPP)
	}
	if !n.broker.HasDatagrams() {
		return goOn
	}
	s, errno := n.subject(c)
	if errno != 0 {
		return failure(errno)
	}
	if s.datagram == nil {
		return goOn
	}
	count := min(int(uint32(c.arg[2])), maxIov)
	for i := range count {
		at := c.arg[1] + uint64(i*mmsghdrLen)
		m, errno := c.message(at)
		o := failure(errno)
		if errno == 0 {
			o = n.send(c, s, m, flags)
		}
		if o.waits && i == 0 {
			return o
		}
		if o.waits || o.errno != 0 {
			if i == 0 {
				return o
			}
			return final(i, 0) // sendmmsg(2): the error comes next time
		}
		var sent [4]byte
		binary.NativeEndian.PutUint32(sent[:], uint32(o.value))
		if errno := c.write(at+msghdrLen, sent[:]); errno != 0 {
			return failure(errno)
		}
	}
	return final(count, 0)
}

// receiver returns the UDP socket that a call receives from. If it is none, o is what
// becomes of the call.
func (n *notifier) receiver(c *call) (s *subject, o outcome) {
	if !n.broker.HasDatagrams() {
		return nil, goOn
	}
	s, errno := n.subject(c)
	if errno != 0 {
		return nil, failure(errno)
	}
	if s.datagram == nil || s.fd < 0 {
		return nil, goOn
	}
	return s, o
}

// receive takes a datagram of at most size bytes. The first time it does not wait.
func (n *notifier) receive(c *call, s *subject, size, flags int, by time.Time) (*broker.Received, outcome) {
	nonblock := flags&unix.MSG_DONTWAIT != 0 || isNonblocking(s.fd)
	ctx, once := c.ctx, c.ctx == nil
	if once {
		ctx = context.Background()
	} else if !n.stillWaits(c) {
		return nil, failure(unix.EINTR)
	}
	if !by.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, by)
		defer cancel()
	}
	r, errno := s.datagram.Receive(ctx, s.fd, size, flags, nonblock || once)
	if errno == unix.EAGAIN && once && !nonblock {
		return nil, outcome{waits: true}
	}
	if errno == 0 && !once && !n.stillWaits(c) && flags&unix.MSG_PEEK == 0 {
		s.datagram.Return(r)
		return nil, failure(unix.EINTR)
	}
	return r, final(0, errno)
}

// received is the outcome of a call that has taken r.
func received(s *subject, r *broker.Received, flags int) outcome {
	o := outcome{value: int64(len(r.Payload))}
	if flags&unix.MSG_TRUNC != 0 {
		o.value = int64(r.Len)
	}
	if flags&unix.MSG_PEEK == 0 {
		d := s.datagram
		o.lost = func() { d.Return(r) }
	}
	return o
}

func (n *notifier) recvfrom(c *call) outcome {
	s, o := n.receiver(c)
	if s == nil {
		return o
	}
	flags := int(int32(c.arg[3]))
	r, o := n.receive(c, s, int(min(c.arg[2], maxRead)), flags, time.Time{})
	if r == nil {
		return o
	}
	if errno := c.write(c.arg[1], r.Payload); errno != 0 {
		return failure(errno)
	}
	if errno := c.putSockaddr(c.arg[4], c.arg[5], r.From); errno != 0 {
		return failure(errno)
	}
	return received(s, r, flags)
}

// deliver writes a datagram to where a struct msghdr wants it.
func (c *call) deliver(h *msghdr, r *broker.Received) syscall.Errno {
	if errno := c.scatter(h, r.Payload); errno != 0 {
		return errno
	}
	nameLen := 0
	if h.name != 0 {
		nameLen = len(r.From)
		if errno := c.write(h.name, r.From[:min(len(r.From), int(h.nameLen))]); errno != 0 {
			return errno
		}
	}
	flags, control := r.Flags, r.Control
	if h.control == 0 || uint64(len(control)) > h.controlLen {
		if len(control) > 0 {
			flags |= unix.MSG_CTRUNC
		}
		control = nil
	}
	if errno := c.write(h.control, control); errno != 0 {
		return errno
	}
	return c.finish(h, nameLen, len(control), flags)
}

func (n *notifier) recvmsg(c *call) outcome {
	s, o := n.receiver(c)
	if s == nil {
		return o
	}
	return n.receiveMessage(c, s, c.arg[1], int(int32(c.arg[2])), time.Time{})
}

// receiveMessage is recvmsg of a UDP socket into the struct msghdr at an address.
func (n *notifier) receiveMessage(c *call, s *subject, at uint64, flags int, by time.Time) outcome {
	h, errno := c.msghdr(at)
	if errno != 0 {
		return failure(errno)
	}
	r, o := n.receive(c, s, h.size, flags, by)
	if r == nil {
		return o
	}
	if errno := c.deliver(&h, r); errno != 0 {
		return failure(errno)
	}
	return received(s, r, flags)
}

func (n *notifier) recvmmsg(c *call) outcome {
	s, o := n.receiver(c)
	if s == nil {
		return o
	}
	flags := int(int32(c.arg[3]))
	by, errno := c.deadline(c.arg[4])
	if errno != 0 {
		return failure(errno)
	}
	count := min(int(uint32(c.arg[2])), maxIov)
	var taken []outcome
	some := func() outcome {
		return outcome{value: int64(len(taken)), lost: func() {
			for _, o := range slices.Backward(taken) {
				if o.lost != nil {
					o.lost()
				}
			}
		}}
	}
	for i := range count {
		at := c.arg[1] + uint64(i*mmsghdrLen)
		o := n.receiveMessage(c, s, at, flags&^unix.MSG_WAITFORONE, by)
		switch {
		case i == 0 && (o.waits || o.errno != 0):
			return o
		case o.waits || o.errno != 0:
			return some() // the rest comes by another call
		}
		taken = append(taken, o)
		var size [4]byte
		binary.NativeEndian.PutUint32(size[:], uint32(o.value))
		if errno := c.write(at+msghdrLen, size[:]); errno != 0 {
			return failure(errno)
		}
		if flags&unix.MSG_WAITFORONE != 0 {
			flags |= unix.MSG_DONTWAIT
		}
	}
	return some()
}

// deadline returns the time after a struct timespec at an address, none for null.
func (c *call) deadline(at uint64) (time.Time, syscall.Errno) {
	if at == 0 {
		return time.Time{}, 0
	}
	b, errno := c.read(at, 16)
	if errno != 0 {
		return time.Time{}, errno
	}
	sec, nsec := int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
	if sec < 0 || nsec < 0 || nsec >= 1e9 {
		return time.Time{}, unix.EINVAL
	}
	const long = 1 << 32 // a time.Duration holds less than 300 years
	return time.Now().Add(time.Duration(min(sec, long))*time.Second + time.Duration(nsec)), 0
}
