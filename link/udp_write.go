package link

import (
	"fmt"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

const (
	maxSegments = 64 // UDP_MAX_SEGMENTS before Linux 6.9
	// maxPayload is the longest payload of a message with UDP_SEGMENT: it
	// travels as one IPv4 packet as far as the network card.
	maxPayload = 65535 - 20 - 8

	// gsoHold is the number of writes that are sent plain after a run was
	// refused for its size: the path's MTU is smaller than we thought.
	gsoHold = 256
)

// A burst is a run of datagrams that go in one message.
type burst struct {
	first, last int // packets of the batch; those between that are dropped belong to none
	n           int // datagrams
	size        int // bytes of each but the last
	total       int
	path        *packet.Path
	tos         uint8
	noSource    bool // let the kernel choose the source address
	again       int  // times that the kernel was asked again
}

// A sender is what one call of Write needs.
type sender struct {
	u      *UDP
	b      *packet.Batch
	run    func(fd uintptr)
	err    error
	waited bool

	bursts []burst
	msgs   [packet.MaxPackets]mmsghdr
	iovs   [packet.MaxPackets]unix.Iovec
	to     [packet.MaxPackets]sockaddr
	ctrl   [packet.MaxPackets]control
}

func newSender(u *UDP) *sender {
	s := &sender{u: u, bursts: make([]burst, 0, packet.MaxPackets)}
	s.run = s.sendAll
	for i := range s.msgs {
		s.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&s.to[i]))
	}
	return s
}

// Write sends the datagrams of b. The error is that of the first one that could
// not be sent. See wg.Transport.
func (u *UDP) Write(b *packet.Batch) error {
	s := u.senders.Get().(*sender)
	s.b, s.err, s.waited = b, nil, false
	err := u.file.control(s.run)
	if err == nil {
		err = s.err
	}
	s.b, s.err = nil, nil
	u.senders.Put(s)
	return err
}

// sendAll sends the batch. It runs inside RawConn.Control.
func (s *sender) sendAll(fd uintptr) {
	s.group()
	iovs := 0
	for i := range s.bursts {
		iovs = s.build(i, iovs)
	}
	for i := 0; i < len(s.bursts); {
		n, errno := s.u.sys.sendmmsg(int(fd), s.msgs[i:len(s.bursts)])
		if n > 0 && errno == 0 {
			i += min(n, len(s.bursts)-i)
			continue
		}
		if !s.settle(int(fd), i, errno) {
			i++
		}
	}
	clear(s.bursts)
	clear(s.iovs[:iovs])
}

// group finds the runs of adjacent datagrams of one way, traffic class and size.
func (s *sender) group() {
	s.bursts = s.bursts[:0]
	gso := !s.u.noGSO.Load()
	if gso && s.u.holdGSO.Load() > 0 {
		gso = s.u.holdGSO.Add(-1) < 0
	}
	var cur *burst
	for i := range s.b.Len() {
		n := len(s.b.Packet(i))
		if n == 0 {
			continue
		}
		path, tos := s.b.Path(i), s.b.TOS(i)
		if path == nil {
			s.fail(1, unix.EDESTADDRREQ)
			continue
		}
		if gso && cur != nil && cur.n < maxSegments && n <= cur.size && cur.total+n <= maxPayload &&
			cur.tos == tos && (cur.path == path || cur.path.Equal(path)) {
			cur.last, cur.n, cur.total = i, cur.n+1, cur.total+n
			if n < cur.size {
				cur = nil // a short one can only be the last
			}
			continue
		}
		s.bursts = append(s.bursts, burst{first: i, last: i, n: 1, size: n, total: n, path: path, tos: tos,
			noSource: s.u.stale.Load().Equal(path)})
		cur = &s.bursts[len(s.bursts)-1]
	}
}

// build fills in the header of message i, with iovecs from number iovs on, and
// returns the number of the next free one. Datagrams that lie behind each other
// without a gap share an iovec.
func (s *sender) build(i, iovs int) int {
	m, d := &s.bursts[i], &s.msgs[i].hdr
	start := iovs
	end := -1 // of the last iovec, in the slab
	for p := m.first; p <= m.last; p++ {
		pkt := s.b.Packet(p)
		if len(pkt) == 0 {
			continue
		}
		off := s.b.Offset(p)
		if off == end {
			s.iovs[iovs-1].SetLen(int(s.iovs[iovs-1].Len) + len(pkt))
		} else {
			s.iovs[iovs].Base = &pkt[0]
			s.iovs[iovs].SetLen(len(pkt))
			iovs++
		}
		end = off + len(pkt)
	}
	d.Iov = &s.iovs[start]
	d.SetIovlen(iovs - start)
	s.envelope(i)
	return iovs
}

// envelope fills in the address and the control messages of message i.
func (s *sender) envelope(i int) {
	m, h := &s.bursts[i], &s.msgs[i].hdr
	h.Namelen = uint32(setName(&s.to[i], m.path, s.u.v6))
	out := departure{c: &s.ctrl[i]}
	remote, local := m.path.Remote.Addr().Unmap(), m.path.Local.Unmap()
	if !m.noSource && local.IsValid() && local.Is4() == remote.Is4() {
		out.source(m.path, s.u.v6)
	}
	if m.tos != 0 {
		out.tos(m.tos, remote.Is4())
	}
	if m.n > 1 {
		out.segment(m.size)
	}
	h.Control = nil
	if out.n > 0 {
		h.Control = &s.ctrl[i].bytes()[0]
	}
	h.SetControllen(out.n)
}

// settle decides what becomes of message i, that the kernel refused. It
// reports whether it is to be offered again.
func (s *sender) settle(fd, i int, errno unix.Errno) (again bool) {
	m := &s.bursts[i]
	if m.again++; m.again > 4 {
		s.fail(m.n, errno)
		return false
	}
	if s.msgs[i].hdr.Namelen == 0 {
		s.fail(m.n, unix.EAFNOSUPPORT) // an IPv6 address and no IPv6 socket
		return false
	}
	switch errno {
	case unix.EINTR:
		return true
	case unix.EAGAIN, unix.ENOBUFS:
		if s.waited {
			break
		}
		s.waited = true
		s.u.sys.writable(fd)
		return true
	case unix.ECONNREFUSED:
		return m.again == 1 // news about an earlier datagram
	case unix.EIO:
		// The device has no checksum offload, or IPsec is in the way:
		// neither goes away.
		if m.n > 1 {
			if !s.u.noGSO.Swap(true) {
				s.u.log.Info("UDP segmentation offload does not work here, doing without", "err", errno)
			}
			s.plain(fd, *m)
			return false
		}
	case unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP:
		if m.n > 1 {
			stale := s.u.stale.Load()
			s.plain(fd, *m)
			if s.u.stale.Load() == stale { // so it was not for the source
				if !s.u.held.Swap(true) {
					s.u.log.Info("a run of datagrams was refused, sending single ones for a while", "bytes", m.size, "err", errno)
				}
				s.u.holdGSO.Store(gsoHold)
			}
			return false
		}
	}
	if sourceRefused(errno) && m.path.Local.IsValid() && !m.noSource {
		// The address left this host, or the route moved to another one.
		s.u.stale.Store(m.path)
		m.noSource = true
		s.envelope(i)
		return true
	}
	if m.tos != 0 && tosRefused(errno) {
		m.tos = 0 // unmarked is better than not at all
		s.envelope(i)
		return true
	}
	s.fail(m.n, errno)
	return false
}

// sourceRefused reports whether another source address may help.
func sourceRefused(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV, unix.ENXIO:
		return true
	}
	return false
}

// tosRefused reports whether the datagram may be let through without a traffic
// class: a kernel that is none of Linux's own does not know it, or a filter
// minds it.
func tosRefused(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL, unix.EOPNOTSUPP, unix.ENOPROTOOPT, unix.EPERM:
		return true
	}
	return false
}

// plain sends the datagrams of a burst one by one. The messages that wait are
// not touched: it uses a sender of its own.
func (s *sender) plain(fd int, m burst) {
	t := s.u.senders.Get().(*sender)
	t.b, t.waited, t.err = s.b, s.waited, nil
	for p := m.first; p <= m.last; p++ {
		n := len(s.b.Packet(p))
		if n == 0 {
			continue
		}
		t.bursts = append(t.bursts[:0], burst{first: p, last: p, n: 1, size: n, total: n,
			path: m.path, tos: m.tos, noSource: m.noSource || s.u.stale.Load().Equal(m.path)})
		t.build(0, 0)
		for {
			if sent, errno := t.u.sys.sendmmsg(fd, t.msgs[:1]); sent > 0 && errno == 0 || !t.settle(fd, 0, errno) {
				break
			}
		}
	}
	if s.err == nil {
		s.err = t.err
	}
	s.waited = t.waited
	clear(t.bursts)
	t.b, t.err, t.iovs[0] = nil, nil, unix.Iovec{}
	s.u.senders.Put(t)
}

// fail counts datagrams that are lost, and keeps the first reason.
func (s *sender) fail(n int, errno unix.Errno) {
	s.u.lost.Add(uint64(n))
	if s.err == nil {
		s.err = fmt.Errorf("send: %w", errno)
	}
}
