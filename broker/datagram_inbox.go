package broker

import (
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inbox is what comes to a socket. The queue that the program reads, natively or
// by Receive, is the kernel's: the near end's. What does not fit into it waits here.
type inbox struct {
	raw   syscall.RawConn // of the far end
	state *datagramState

	mu      sync.Mutex
	closed  bool
	peer    netip.AddrPort // if valid, the only source that is let in
	queue   []queued       // what did not fit
	bytes   int            // of queue
	pumping bool           // a goroutine moves queue on, and is the only one that sends

	// plain is what a datagram without a tag is: the connected peer's need none, as
	// long as the queue has none of an earlier peer's.
	plain tag

	pending  syscall.Errno // SO_ERROR
	returned []*Received   // by Return
	arrived  chan struct{} // closed at the next arrival; nil if nobody waits
}

type queued struct {
	tag     tag
	payload []byte
}

// What a socket holds beside the kernel's queue; more is dropped, as it is from a
// full SO_RCVBUF.
const (
	maxQueued      = 1024
	maxQueuedBytes = 1 << 20
)

// connect lets nobody in but peer, which reaches the program at local; the zero
// peer: everybody.
func (in *inbox) connect(peer netip.AddrPort, local netip.Addr) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.peer = peer
	if peer.Port() != 0 && (!in.plain.from.IsValid() || in.isEmpty()) {
		in.plain = tag{peer, local}
	}
}

// isEmpty reports whether there is nothing that the program has not read yet. in.mu
// must be held.
func (in *inbox) isEmpty() bool {
	if in.pumping || len(in.queue) > 0 {
		return false
	}
	unread := 1 // SIOCOUTQ: what the near end has not taken yet is charged to this one
	in.raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCOUTQ); err == nil {
			unread = n
		}
	})
	return unread == 0
}

// affinity says how well from is served by the socket: 0 not at all, which is
// connected to somebody else; 2 if it is connected to from.
func (in *inbox) affinity(from netip.AddrPort) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case !in.peer.IsValid():
		return 1
	case isFrom(in.peer, from):
		return 2
	}
	return 0
}

// isFrom reports whether from is the peer of connect: if that has port 0, any port is
// its.
func isFrom(peer, from netip.AddrPort) bool {
	return peer.IsValid() && (peer == from || peer.Port() == 0 && peer.Addr() == from.Addr())
}

// push brings a datagram to the program, or drops it: it is not let in, or there is
// no room. It does not block.
func (in *inbox) push(t tag, payload []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed && (!in.peer.IsValid() || isFrom(in.peer, t.from)) {
		in.put(t, payload)
	}
}

// put is push of what is let in, and of markers. in.mu must be held.
func (in *inbox) put(t tag, payload []byte) {
	if !in.pumping {
		full := false
		in.raw.Control(func(fd uintptr) { full = !in.send(int(fd), t, payload) })
		if !full {
			return
		}
		in.pumping = true
		in.state.running.Go(in.pump)
	}
	if len(in.queue) < maxQueued && in.bytes+len(payload) <= maxQueuedBytes {
		in.queue = append(in.queue, queued{t, slices.Clone(payload)})
		in.bytes += len(payload)
	}
}

// pump moves the queue on while the program reads, until it is empty.
func (in *inbox) pump() {
	in.raw.Write(func(fd uintptr) bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		for len(in.queue) > 0 {
			q := in.queue[0]
			if !in.send(int(fd), q.tag, q.payload) {
				return false
			}
			in.queue[0] = queued{}
			in.queue = in.queue[1:]
			in.bytes -= len(q.payload)
		}
		in.queue = nil
		in.pumping = false
		return true
	})
}

// send puts a datagram into the near end's queue; false if that is full. Other
// errors lose it: above all ETOOMANYREFS, when more descriptors are under way than
// RLIMIT_NOFILE lets the broker have. in.mu must be held.
func (in *inbox) send(fd int, t tag, payload []byte) (done bool) {
	var err error
	if t == in.plain && !t.isMarker() {
		err = sendmsg(fd, payload, nil)
	} else {
		err = in.state.tags.use(t, func(of int) error {
			return sendmsg(fd, payload, unix.UnixRights(of))
		})
	}
	if err == unix.EAGAIN {
		return false
	}
	if in.arrived != nil {
		close(in.arrived)
		in.arrived = nil
	}
	return true
}

// sendmsg is sendmsg(2), which for x/sys would not be empty if there is control.
func sendmsg(fd int, payload, control []byte) error {
	var msg unix.Msghdr
	var iov unix.Iovec
	if len(payload) > 0 {
		iov.Base = &payload[0]
		iov.SetLen(len(payload))
		msg.Iov = &iov
		msg.SetIovlen(1)
	}
	if len(control) > 0 {
		msg.Control = &control[0]
		msg.SetControllen(len(control))
	}
	for {
		_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno == ok {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// fail leaves an error for the program, and a marker to wake it if it polls.
func (in *inbox) fail(errno syscall.Errno) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || errno == ok {
		return
	}
	marked := in.pending != ok
	in.pending = errno
	if !marked {
		in.put(tag{}, nil)
	}
}

// take returns the error that is pending, which is none any more.
func (in *inbox) take() syscall.Errno {
	in.mu.Lock()
	defer in.mu.Unlock()
	errno := in.pending
	in.pending = ok
	return errno
}

func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.queue, in.returned = nil, nil
}
