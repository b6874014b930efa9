package launcher

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	fd     int // the listener
	calls  map[int32]handler
	broker *broker.Broker
	lender *lender
	log    *slog.Logger
	warn   func(string)

	receiving atomic.Bool // a goroutine waits for a call

	mu          sync.Mutex // guards what follows
	waiting     map[int]*pendingCall
	undelivered map[int]undelivered // by thread
	warned      map[int]bool        // threads of which nothing could be read
}

// A pendingCall waits for something. Its thread makes no other meanwhile: when it
// does, a signal has ended this one.
type pendingCall struct{ cancel context.CancelCauseFunc }

// A call is one system call of the command's.
type call struct {
	caller
	ctx context.Context // ends when nobody waits for the answer any more
	id  uint64
	nr  int32
	arg [6]uint64

	about *subject // the socket, once it has been looked for
}

// undelivered is the outcome of a call that a signal has ended after it was done and
// before that was told. Most programs have it made again (SA_RESTART, signal(7)): then
// it is told, and not done twice.
type undelivered struct {
	call    call
	outcome outcome
	at      time.Time
}

// restartLife is how long a call may take to be made again: as long as the handler.
const restartLife = time.Second

// An outcome is what becomes of a call.
type outcome struct {
	value   int64
	errno   syscall.Errno
	goOn    bool // the kernel does it
	waits   bool // it has to wait: call again, with a context
	fd      int  // to be handed out in the place of value, if > 0; closed then
	cloexec bool
	keep    bool   // fd is kept by the lender
	lost    func() // undoes what was done, if nobody waits any more
	once    bool   // what was done is not to be done again by the same call
}

// A handler does a call. The first time ctx is nil: it must not wait then.
type handler func(n *notifier, c *call) outcome

// goOn lets the kernel do the call.
var goOn = outcome{goOn: true}

func failure(errno syscall.Errno) outcome { return outcome{errno: errno} }

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
	n := &notifier{fd: fd, calls: handlers(c), broker: b, lender: l, log: log, warn: warn,
		waiting: make(map[int]*pendingCall), undelivered: make(map[int]undelivered), warned: make(map[int]bool)}
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

// serve receives calls, and does them. It ends when nobody is left who could make
// one, or when another one receives: one is enough, and a second would only be woken
// in turns, on another processor.
func (n *notifier) serve() {
	var req notifRequest
	for n.receiving.CompareAndSwap(false, true) {
		err := notifReceive(n.fd, &req)
		n.receiving.Store(false)
		switch {
		case err == nil:
			n.take(&req)
		case err == unix.ENOENT && !n.isOver():
		case err == unix.ENOENT:
			return
		default:
			if err != unix.EBADF { // Close
				n.log.Warn("system calls are no longer answered", "err", err)
			}
			return
		}
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
	if !n.receiving.Load() {
		go n.serve()
	}
}

// take does a call.
func (n *notifier) take(req *notifRequest) {
	c := &call{caller: caller{int(req.pid)}, id: req.id, nr: req.nr, arg: req.args}
	defer c.giveBack()
	n.cancel(c.tid)
	do := n.calls[c.nr]
	if do == nil {
		n.answer(c, failure(unix.ENOSYS))
		return
	}
	if o, made := n.madeBefore(c); made {
		n.answer(c, o)
		return
	}
	o := n.do(c, do)
	if o.errno == unix.EPERM && broker.IsOthers(c.tid) {
		// Only its own user may look at it, as at what root has started as another.
		n.more()
		c.ctx = nil
		broker.AsThread(c.tid, func() { o = n.do(c, do) })
	}
	n.answer(c, o)
}

// do does a call, and waits if it has to.
func (n *notifier) do(c *call, do handler) outcome {
	o := do(n, c)
	if !o.waits {
		return o
	}
	ctx, p := n.wait(c) // before others can receive what ends it
	n.more()
	defer n.done(c, p)
	c.ctx = ctx
	return do(n, c)
}

// cancel ends the call that a thread has waited in: it makes another one.
func (n *notifier) cancel(tid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.waiting[tid]; p != nil {
		p.cancel(nil)
		delete(n.waiting, tid)
	}
}

// watchAfter is how long a call has to wait for its thread to be watched.
const watchAfter = 20 * time.Millisecond

// wait notes that a call waits. Its context ends with the thread, too.
func (n *notifier) wait(c *call) (context.Context, *pendingCall) {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &pendingCall{cancel}
	n.mu.Lock()
	n.waiting[c.tid] = p
	n.mu.Unlock()
	watch := time.AfterFunc(watchAfter, func() { n.lender.watch(ctx, c.tid, func() { cancel(broker.ErrGone) }) })
	context.AfterFunc(ctx, func() { watch.Stop() })
	return ctx, p
}

func (n *notifier) done(c *call, p *pendingCall) {
	p.cancel(nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting[c.tid] == p {
		delete(n.waiting, c.tid)
	}
}

// answer tells the kernel what becomes of the call.
func (n *notifier) answer(c *call, o outcome) {
	if o.errno == unix.EPERM && !o.goOn {
		n.tellUnreadable(c)
	}
	var err error
	if o.fd > 0 {
		err = n.handOut(c, o)
	} else {
		r := notifResponse{id: c.id, val: o.value, errno: -int32(o.errno)}
		if o.goOn {
			r.flags = continueCall
		}
		err = notifSend(n.fd, &r)
	}
	switch {
	case err == nil:
	case o.lost != nil:
		o.lost()
	case err == unix.ENOENT && o.once:
		n.mu.Lock()
		defer n.mu.Unlock()
		n.undelivered[c.tid] = undelivered{*c, o, time.Now()}
	}
}

// madeBefore returns the outcome of the same call of the same thread, if that was done
// and not told.
func (n *notifier) madeBefore(c *call) (o outcome, made bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, there := n.undelivered[c.tid]
	if !there {
		return o, false
	}
	same := u.call.nr == c.nr && u.call.arg == c.arg
	if old := time.Since(u.at) > restartLife; same || old {
		delete(n.undelivered, c.tid)
		made = same && !old
	}
	return u.outcome, made
}

// handOut puts a descriptor into the program's table, whose number is the answer.
func (n *notifier) handOut(c *call, o outcome) error {
	a := notifFD{id: c.id, flags: addFDSend, src: uint32(o.fd)}
	if o.cloexec {
		a.newFlags = unix.O_CLOEXEC
	}
	if o.keep {
		// First: the program uses it as soon as it has it.
		n.lender.keep(o.fd)
	}
	_, err := notifAddFD(n.fd, &a)
	if err != nil && err != unix.ENOENT {
		notifSend(n.fd, &notifResponse{id: c.id, errno: -int32(errnoIn(err, unix.EMFILE))})
	}
	unix.Close(o.fd)
	return err
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
	if c.about != nil && c.about.fd >= 0 {
		unix.Close(c.about.fd)
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
	for _, p := range n.waiting {
		p.cancel(nil)
	}
	n.mu.Unlock()
	return unix.Close(n.fd)
}
