package launcher

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// A notifier answers the system calls that the filter of seccomp mode tells of.
//
// A call on a socket of ours is done here, on a copy of its descriptor, with
// arguments that were read from the program's memory once. A call on anything else
// may go on in the kernel only if it does no harm whatever the program has put
// under the descriptor, or into its memory, in the meantime. It can have no socket
// of IP there but TCP sockets that are bound to lo. So connect is never let go on,
// nor is an option by which those could be unbound, or join a group.
type notifier struct {
	fd      int // the listener
	numbers socketCalls
	calls   map[int32]handler
	broker  *broker.Broker
	lender  *lender
	log     *slog.Logger
	warn    func(string)

	receiving atomic.Bool   // a goroutine waits for a call
	received  atomic.Uint64 // calls
	attended  atomic.Bool   // somebody looks soon whether one of them holds up the others
	resting   atomic.Int32  // goroutines that have nothing to do
	needed    chan struct{} // sent to when one of them has; never closed
	over      chan struct{} // closed when there are no calls any more
	finished  sync.Once     // closes over

	mu          sync.Mutex          // guards what follows
	active      map[int]*work       // by thread: it makes one call at a time
	undelivered map[int]undelivered // by thread
	warned      map[int]bool        // processes of which nothing could be read
}

// A call is one system call of the command's.
type call struct {
	caller
	ctx context.Context // ends when nobody waits for the answer any more
	id  uint64
	nr  int32
	arg [6]uint64

	waits func()   // to be called before it waits for anything; more than once does no harm
	about *subject // the socket, once it has been looked for
}

// An outcome is what becomes of a call.
type outcome struct {
	value   int64
	errno   syscall.Errno
	goOn    bool // the kernel does it
	waits   bool // it has to wait: call again, with a context
	says    bool // and it says when it does: call.waits
	fd      int  // to be handed out in the place of value, if > 0; closed then
	cloexec bool
	keep    bool   // fd is kept by the lender
	lost    func() // undoes what was done, if nobody waits any more
	holds   bool   // lost is about the call's socket
	once    bool   // what was done is not to be done again by the same call
	then    func() // what remains to be done when it has been told; it may last
	inode   uint64 // of the socket that it was done with
}

// A handler does a call. The first time ctx is nil: it must not wait then.
type handler func(n *notifier, c *call) outcome

// goOn lets the kernel do the call.
var goOn = outcome{goOn: true}

func failure(errno syscall.Errno) outcome { return outcome{errno: errno} }

// final is the outcome of a call that has changed something: an error, too, is told
// once. It is another matter if the call has come to nothing.
func final(value int, errno syscall.Errno) outcome {
	return outcome{value: int64(value), errno: errno, once: errno != unix.EINTR && errno != unix.EAGAIN}
}

// newNotifier takes over the listener and answers until every process that has
// the filter is gone, or until Close.
func newNotifier(f *os.File, b *broker.Broker, l *lender, log *slog.Logger, warn func(string)) (*notifier, error) {
	c, known := callsFor(runtime.GOARCH)
	if !known {
		return nil, unix.ENOSYS
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	notifWakeHere(fd)
	n := &notifier{fd: fd, numbers: c, calls: handlers(c), broker: b, lender: l, log: log, warn: warn,
		needed: make(chan struct{}), over: make(chan struct{}),
		active: make(map[int]*work), undelivered: make(map[int]undelivered), warned: make(map[int]bool)}
	n.more()
	return n, nil
}

// handlers are the calls that the filter tells of.
func handlers(c socketCalls) map[int32]handler {
	return map[int32]handler{
		int32(c.socket): (*notifier).socket, int32(c.connect): (*notifier).connect,
		int32(c.bind): (*notifier).bind, int32(c.listen): (*notifier).listen,
		int32(c.accept): (*notifier).accept, int32(c.accept4): (*notifier).accept4,
		int32(c.getsockname): (*notifier).getsockname, int32(c.getpeername): (*notifier).getpeername,
		int32(c.sendto): (*notifier).sendto, int32(c.sendmsg): (*notifier).sendmsg, int32(c.sendmmsg): (*notifier).sendmmsg,
		int32(c.recvfrom): (*notifier).recvfrom, int32(c.recvmsg): (*notifier).recvmsg, int32(c.recvmmsg): (*notifier).recvmmsg,
		int32(c.setsockopt): (*notifier).setsockopt, int32(c.getsockopt): (*notifier).getsockopt,
	}
}

// serve receives calls, and does them, until nobody is left who could make one.
func (n *notifier) serve() {
	for n.serveAlone() && n.rest() {
	}
}

// serveAlone does it as long as nobody else does: one is enough, and a second would only be
// woken in turns, on another processor. It reports whether there may be more.
func (n *notifier) serveAlone() bool {
	var req notifRequest
	for n.receiving.CompareAndSwap(false, true) {
		err := notifReceive(n.fd, &req)
		n.receiving.Store(false)
		switch {
		case err == nil:
			n.take(&req)
		case err == unix.ENOENT && !n.isOver():
		default:
			if err != unix.ENOENT && err != unix.EBADF { // Close
				n.log.Warn("system calls are no longer answered", "err", err)
			}
			n.finished.Do(func() { close(n.over) })
			return false
		}
	}
	return true
}

// maxResting is how many goroutines rest at most.
const maxResting = 8

// rest waits until another one is needed to receive: this one's stack has grown to what
// that takes. It reports whether it is.
func (n *notifier) rest() bool {
	if n.resting.Add(1) > maxResting {
		n.resting.Add(-1)
		return false
	}
	defer n.resting.Add(-1)
	select {
	case <-n.needed:
		return true
	case <-n.over:
		return false
	}
}

// isOver reports whether the last process that has the filter is gone.
func (n *notifier) isOver() bool {
	fds := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLNVAL|unix.POLLERR) != 0
}

// more lets another goroutine receive, if nobody does: this one is about to wait.
func (n *notifier) more() {
	if n.receiving.Load() {
		return
	}
	select {
	case n.needed <- struct{}{}:
	default:
		go n.serve()
	}
}

// answer tells the kernel what becomes of the call, and reports whether anybody waited
// for it.
func (n *notifier) answer(c *call, o outcome) (told bool) {
	if o.errno == unix.EPERM && !o.goOn {
		n.tellUnreadable(c)
	}
	if o.fd > 0 {
		return n.handOut(c, o)
	}
	r := notifResponse{id: c.id, val: o.value, errno: -int32(o.errno)}
	if o.goOn {
		r.flags = continueCall
	}
	return notifSend(n.fd, &r) != unix.ENOENT
}

// handOut puts a descriptor into the program's table, whose number is the answer. It
// reports whether anybody waited for that. If it is for who makes the call again, it
// stays open then.
func (n *notifier) handOut(c *call, o outcome) (told bool) {
	a := notifFD{id: c.id, flags: addFDSend, src: uint32(o.fd)}
	if o.cloexec {
		a.newFlags = unix.O_CLOEXEC
	}
	var kept uint64
	if o.keep {
		// First: the program uses it as soon as it has it.
		kept = n.lender.keep(o.fd)
	}
	_, err := notifAddFD(n.fd, &a)
	// ESRCH: a signal was faster than the descriptor.
	told = err != unix.ENOENT && err != unix.ESRCH
	if err != nil && told {
		notifSend(n.fd, &notifResponse{id: c.id, errno: -int32(errnoIn(err, unix.EMFILE))})
	}
	switch {
	case kept == 0:
	case err != nil:
		n.lender.letGo(kept)
	default:
		n.lender.handedOut(kept)
	}
	if told || !o.once {
		unix.Close(o.fd)
	}
	return told
}

// errnoIn returns the errno in err, usual if there is none.
func errnoIn(err error, usual syscall.Errno) syscall.Errno {
	if errno, is := err.(syscall.Errno); is {
		return errno
	}
	return usual
}

// giveBack lets go of the call's socket.
func (c *call) giveBack() {
	if c.about != nil {
		c.about.giveBack()
	}
}

// giveBack lets go of the copy.
func (b *borrowed) giveBack() {
	if b.fd >= 0 {
		unix.Close(b.fd)
		b.fd = -1
	}
}

// stillWaits reports whether the thread still waits for the answer: what was read
// by its number was its own.
func (n *notifier) stillWaits(c *call) bool { return notifIDValid(n.fd, c.id) }

// tellUnreadable says, once for each, that a program cannot be served because it
// may not be looked at.
func (n *notifier) tellUnreadable(c *call) {
	if !n.stillWaits(c) {
		return
	}
	if _, errno := c.read(c.arg[1], 1); errno != unix.EPERM {
		return
	}
	pid := processOf(c.tid)
	n.mu.Lock()
	told := n.warned[pid]
	n.warned[pid] = true
	n.mu.Unlock()
	if pid != 0 && !told {
		name, _, _, _ := procStat(pid)
		n.warn(warnUnreadable(name, pid, whyUnreadable(thisMachine(), pid, os.Geteuid())))
	}
}

// Close ends what waits. The calls fail for good when this process ends, which is
// about to: a goroutine that receives keeps the listener until then.
func (n *notifier) Close() error {
	n.mu.Lock()
	for _, w := range n.active {
		w.stop()
	}
	n.mu.Unlock()
	n.finished.Do(func() { close(n.over) })
	return unix.Close(n.fd)
}
