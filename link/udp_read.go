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

	// After so many long datagrams in a row that stood close together, none of
	// them merged, GRO does not happen on the way here (a virtual network
	// card, Wi-Fi with losses): more and smaller slots serve better. Short
	// ones prove nothing: acknowledgements seldom come in runs. A few long ones
	// do not either: of a hundred flows each sends one at times.
	groGiveUp = 1024
	groLong   = 1000 // bytes
	groClose  = 8    // datagrams in one Read
	// After so many reads without GRO it is tried again: that costs little,
	// and doing without costs ten times as much where GRO would work.
	groRetry = 1 << 9

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
	queue  bool // GRO is on, and still single datagrams wait in line: one slot at a time
	streak int  // datagrams or reads in a row that speak for a change

	at    int // where in the slab the slots begin
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

// receive takes what is there, up to a batch, or reports that there is nothing.
//
// One recvmmsg(2) fills all slots. Where merged datagrams could come but single
// ones do, and several at once, the slots are laid out one by one, each behind
// what the last one got: a single slot is too large for what comes, and still has
// to be that large for what might.
func (r *receiver) receive(fd uintptr) bool {
	var got reading
	for at := 0; ; {
		msgs := r.lay(at)
		n := 0
		// Any message fits; and empty ones, which take no place, end some time.
		if len(msgs) > 0 && r.b.Len() <= packet.MaxPackets-maxSegments && got.messages < packet.MaxPackets {
			var there bool
			if n, there = r.call(int(fd), msgs); !there && got.messages == 0 {
				return r.err != nil
			}
			r.err = nil // or it will be there again
		}
		r.deliver(&got, msgs[:n])
		if n < len(msgs) || n == 0 || !r.queue {
			got.full = n > 0 && n == len(msgs) || got.messages >= groClose
			r.adapt(int(fd), &got)
			return true
		}
		at = (packet.SlabSize - r.b.Free() + 63) &^ 63
	}
}

// A reading is what one call of receive got.
type reading struct {
	messages int
	full     bool // there was more, most likely
	merged   bool // some message was of many datagrams
	short    bool // some message was a short one
	cut      bool // some message did not fit
}

// slot returns the size of the slots.
func (r *receiver) slot() int {
	if r.gro {
		return bigSlot
	}
	return smallSlot
}

// lay returns as many messages as there is space for from byte at of the slab on,
// or one in a queue.
func (r *receiver) lay(at int) []mmsghdr {
	slot, slab := r.slot(), r.b.Slab()
	n := (len(slab) - at) / slot
	if r.queue {
		n = min(n, 1)
	}
	msgs := r.msgs[:n]
	for i := range msgs {
		h := &msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(r.ctrl[i]) * 8)
		h.Flags = 0
		h.Iov.Base = &slab[at+i*slot]
		h.Iov.SetLen(slot)
	}
	r.at = at
	return msgs
}

// call makes one successful recvmmsg(2), or reports that there is nothing; then
// r.err says why if that is not for now.
func (r *receiver) call(fd int, msgs []mmsghdr) (n int, ok bool) {
	for range maxReadErrors {
		n, errno := r.u.sys.recvmmsg(fd, msgs)
		switch errno {
		case 0:
			r.err = nil
			return n, true
		case unix.EAGAIN:
			r.err = nil
			return 0, false
		case unix.EBADF, unix.ENOTSOCK:
			r.err = fmt.Errorf("receive: %w", errno)
			return 0, false
		}
		// EINTR; or ECONNREFUSED, EHOSTUNREACH …: what became of a datagram
		// sent earlier. It says nothing about the next one.
		r.err = fmt.Errorf("receive: %w", errno)
	}
	return 0, false
}

// deliver describes the datagrams of the messages in the batch.
func (r *receiver) deliver(got *reading, msgs []mmsghdr) {
	slot := r.slot()
	var a arrival
	for i := range msgs {
		m := &msgs[i]
		in := parseControl(r.ctrl[i].bytes()[:min(int(m.hdr.Controllen), controlLen*8)])
		n := min(int(m.n), slot)
		got.messages++
		got.cut = got.cut || m.hdr.Flags&unix.MSG_TRUNC != 0
		if n == 0 || m.hdr.Flags&unix.MSG_TRUNC != 0 {
			r.u.lost.Add(1)
			continue
		}
		got.short = got.short || n < groLong
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
			got.merged = true
		}
		for off := 0; off < n; off += size {
			if !r.b.Add(r.at+i*slot+off, min(size, n-off), path, in.tos) {
				r.u.lost.Add(uint64((n - off + size - 1) / size))
				break
			}
		}
	}
}

// adapt chooses between few big slots and many small ones, and between big ones
// at once and one by one, after what one call of receive got.
func (r *receiver) adapt(fd int, got *reading) {
	r.large = r.large || got.cut
	r.queue = r.gro && got.full && !got.merged
	switch {
	case r.gro && (got.merged || got.short || r.large):
		r.streak = 0
	case r.gro && got.messages < groClose:
	case r.gro:
		if r.streak += got.messages; r.streak >= groGiveUp {
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
	r.gro, r.queue = on, false
}
