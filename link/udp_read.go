package link

import (
	"fmt"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

const (
	// With UDP_GRO a message is up to 64 KiB of datagrams: the slab holds
	// two. Without it a datagram is seldom longer than an Ethernet frame.
	bigSlot, smallSlot = packet.SlabSize / 2, 2048
	maxMessages        = packet.SlabSize / smallSlot

	// After so many reads in a row that were full of long datagrams, none of
	// them merged, GRO does not happen on the way here (a virtual network
	// card, Wi-Fi with losses): more and smaller slots serve better. Short
	// ones prove nothing: acknowledgements seldom come in runs.
	groGiveUp = 16
	groLong   = 1000 // bytes
	// After so many reads without GRO it is tried again: that costs little,
	// and doing without costs ten times as much where GRO would work.
	groRetry = 1 << 11

	// Errors in a row that Read takes for news about other datagrams.
	maxReadErrors = 64
)

// A receiver is the state of UDP.Read.
type receiver struct {
	u    *UDP
	b    *packet.Batch
	fill func(fd uintptr) bool
	err  error

	canGRO bool // the kernel has UDP_GRO, and it is wanted
	gro    bool // it is on: the slots are big
	large  bool // a datagram did not fit into a small slot: none from then on
	streak int  // reads in a row that speak for a change

	msgs  [maxMessages]mmsghdr
	iovs  [maxMessages]unix.Iovec
	from  [maxMessages]sockaddr
	ctrl  [maxMessages]control
	paths arrivals
}

func (r *receiver) init(u *UDP, gro bool) {
	r.u, r.canGRO, r.gro = u, gro, gro
	r.fill = r.receive
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.from[i]))
		h.Control = &r.ctrl[i].bytes()[0]
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
	}
}

// Read fills b with the datagrams that are there. See wg.Transport.
func (u *UDP) Read(b *packet.Batch) error {
	r := &u.in
	for {
		b.Reset()
		r.b, r.err = b, nil
		err := u.file.read(r.fill)
		r.b = nil
		if err == nil {
			err = r.err
		}
		if err != nil || b.Len() > 0 {
			return err
		}
	}
}

// receive makes one successful recvmmsg(2), or reports that there is nothing.
func (r *receiver) receive(fd uintptr) bool {
	slot := smallSlot
	if r.gro {
		slot = bigSlot
	}
	slab := r.b.Slab()
	msgs := r.msgs[:len(slab)/slot]
	for i := range msgs {
		h := &msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(r.ctrl[i]) * 8)
		h.Flags = 0
		h.Iov.Base = &slab[i*slot]
		h.Iov.SetLen(slot)
	}
	for range maxReadErrors {
		n, errno := r.u.sys.recvmmsg(int(fd), msgs)
		switch errno {
		case 0:
			r.deliver(int(fd), msgs[:n], slot, n == len(msgs))
			return true
		case unix.EAGAIN:
			return false
		case unix.EBADF, unix.ENOTSOCK:
			r.err = fmt.Errorf("receive: %w", errno)
			return true
		}
		// EINTR; or ECONNREFUSED, EHOSTUNREACH …: what became of a datagram
		// sent earlier. It says nothing about the next one.
		r.err = fmt.Errorf("receive: %w", errno)
	}
	return true
}

// deliver describes the datagrams of the messages in the batch.
func (r *receiver) deliver(fd int, msgs []mmsghdr, slot int, full bool) {
	r.err = nil
	long, merged, cut := full, false, false
	var a arrival
	for i := range msgs {
		m := &msgs[i]
		in := parseControl(r.ctrl[i].bytes()[:min(int(m.hdr.Controllen), controlLen*8)])
		cut = cut || m.hdr.Flags&unix.MSG_TRUNC != 0
		n := min(int(m.n), slot)
		if n == 0 || m.hdr.Flags&unix.MSG_TRUNC != 0 {
			r.u.lost.Add(1)
			continue
		}
		long = long && n >= groLong
		a = arrival{from: r.from[i], to: in.to, ifIndex: in.ifIndex}
		if m.hdr.Namelen < unix.SizeofSockaddrInet6 {
			a.from.Scope_id = 0 // behind the end of a sockaddr_in
			clear(a.from.Addr[8:])
		}
		path := r.paths.path(&a)
		if r.u.stale.Load() == path {
			r.u.stale.Store(nil) // it is an address of ours again
		}
		size := in.segment
		if size <= 0 || size >= n {
			size = n
		} else {
			merged = true
		}
		for off := 0; off < n; off += size {
			if !r.b.Add(i*slot+off, min(size, n-off), path, in.tos) {
				r.u.lost.Add(uint64((n - off + size - 1) / size))
				break
			}
		}
	}
	r.adapt(fd, merged, long, cut)
}

// adapt chooses between few big slots and many small ones, after a read that
// had merged datagrams, was full of long ones, or cut one off.
func (r *receiver) adapt(fd int, merged, long, cut bool) {
	r.large = r.large || cut
	switch {
	case r.gro && (merged || !long || r.large):
		r.streak = 0
	case r.gro:
		if r.streak++; r.streak >= groGiveUp {
			r.setGRO(fd, false)
		}
	default:
		if r.streak++; r.large || r.canGRO && r.streak >= groRetry {
			r.setGRO(fd, true)
		}
	}
}

// setGRO switches UDP_GRO together with the size of the slots: a merged message
// does not fit into a small one. Big slots work without UDP_GRO, too.
func (r *receiver) setGRO(fd int, on bool) {
	r.streak = 0
	if r.canGRO {
		v := 0
		if on {
			v = 1
		}
		if r.u.sys.setsockopt(fd, unix.SOL_UDP, unix.UDP_GRO, v) != nil {
			return
		}
	}
	r.gro = on
}
