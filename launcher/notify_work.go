package launcher

import (
	"context"
	"sync"
	"time"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// A signal ends a call that waits for its answer, whatever has been done for it by
// then. Most programs have it made again (SA_RESTART, signal(7)), and the same thread
// comes with the same arguments, perhaps while the first is still at work: what has
// been done is told then, and not done twice.

// work is a call that is being done.
type work struct {
	call    *call
	cancel  context.CancelCauseFunc // of the call's context, once it waits
	blocked bool                    // and may wait for long

	over    chan struct{} // closed when it has been done; then:
	outcome outcome
	told    bool          // somebody was told the outcome
	left    bool          // nobody was, and it is for the heir
	heir    chan struct{} // of who makes the call again; closed when another one does. nil: nobody
}

// stop ends the waiting of a call that nobody waits for.
func (w *work) stop() {
	if w.cancel != nil {
		w.cancel(nil)
	}
}

// passOver has the heir, if there is one, give up: its thread makes another call.
// The notifier's mu must be held.
func (w *work) passOver() {
	if w.heir != nil {
		close(w.heir)
		w.heir = nil
	}
}

// isAgain reports whether c is the same call, made again.
func (c *call) isAgain(of *call) bool { return c.nr == of.nr && c.arg == of.arg }

// undelivered is an outcome that nobody was told.
type undelivered struct {
	call    *call
	outcome outcome
	at      time.Time
}

const (
	// restartLife is how long a call may take to be made again: as long as the
	// handler of the signal.
	restartLife = time.Second
	// maxUndelivered is how many threads' outcomes are remembered.
	maxUndelivered = 256
)

// take does a call.
func (n *notifier) take(req *notifRequest) {
	n.received.Add(1)
	n.attend()
	c := &call{caller: caller{int(req.pid)}, id: req.id, nr: req.nr, arg: req.args}
	do := n.calls[c.nr]
	if do == nil {
		n.answer(c, failure(unix.ENOSYS))
		return
	}
	then := n.serveCall(c, do)
	c.giveBack()
	if then != nil {
		// The thread that was answered has been woken on this very processor: it goes first.
		unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		then()
	}
}

// attend sees to it that others are received if a call lasts that says nothing of
// waiting: the program's memory may be a file's that does not come, and a socket that
// it closes meanwhile is closed by us, who wait for what it has to send (SO_LINGER).
func (n *notifier) attend() {
	if n.attended.Load() || !n.attended.CompareAndSwap(false, true) {
		return
	}
	before := n.received.Load()
	n.broker.After(lastsFor, func() {
		n.attended.Store(false)
		switch {
		case n.receiving.Load():
		case n.received.Load() == before:
			n.more()
		default:
			n.attend() // it is another one
		}
	})
}

// lastsFor is longer than a call lasts that does not wait, mostly.
const lastsFor = 10 * time.Millisecond

// serveCall does a call and tells what it has come to. What remains is for the caller.
func (n *notifier) serveCall(c *call, do handler) (then func()) {
	w, o, made := n.begin(c)
	if w == nil {
		return nil
	}
	if !made {
		o, made = n.madeBefore(c)
	}
	if made && !n.isAbout(c, o.inode) {
		o.drop()
		made = false
	}
	if !made {
		o = n.do(w, do)
	}
	if o.errno == unix.EPERM && broker.IsOthers(c.tid) {
		// Only its own user may look at it, as at what root has started as another.
		n.more()
		c.ctx = nil
		broker.AsThread(c.tid, func() { o = n.do(w, do) })
	}
	then, o.then = o.then, nil // once, whoever is told
	n.finish(w, o)
	return then
}

// isAbout reports whether a call is about the socket with the inode: by the same number
// it may be another one by now. Of a call that has ended meanwhile, too, that is left to
// the one after it.
func (n *notifier) isAbout(c *call, inode uint64) bool {
	s, errno := n.subject(c)
	return errno == 0 && s.inode == inode || !n.stillWaits(c)
}

// howAgain is why a call that has waited is made again.
type howAgain int

const (
	restarted howAgain = iota // by the kernel
	ended                     // by the kernel, which would not have: it ends with EINTR
	anew                      // by the program: it did not wait for long
)

// howAgain tells it by the socket. A call that has a limit is never restarted (signal(7),
// SO_RCVTIMEO), but one that waits for us is. A program that calls once more after EINTR
// cannot be told from that: it hears EINTR twice. If the socket, on which the call has
// blocked, does not block any more, it is the program.
func (n *notifier) howAgain(c *call, blocked bool) howAgain {
	s, errno := n.subject(c)
	if errno != 0 || s.fd < 0 || !blocked {
		return restarted
	}
	limited := false
	switch uint32(c.nr) {
	case n.numbers.connect, n.numbers.sendto, n.numbers.sendmsg:
		limited = n.broker.SendLimit(s.inode, s.fd) > 0
	default:
		tv, err := unix.GetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO)
		limited = err == nil && tv.Nano() > 0
	}
	switch {
	case isNonblocking(s.fd):
		return anew
	case limited:
		return ended
	}
	return restarted
}

// begin notes that a call is being done. The same call of the same thread, if that is
// still being done, is waited for: what it has come to and nobody was told is the
// outcome of this one. It returns nil if the call has been made once more in the
// meantime. A different call ends one that waits. Calls may come here in another order
// than they were made in: of two, the one that is waited for is the later one.
func (n *notifier) begin(c *call) (w *work, o outcome, made bool) {
	w = &work{call: c, over: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.active[c.tid]
	if old != nil && !n.stillWaits(c) {
		return nil, o, false
	}
	if old == nil || !c.isAgain(old.call) {
		if old != nil {
			old.stop()
			old.passOver()
		}
		n.active[c.tid] = w
		return w, o, false
	}
	old.passOver()
	mine := make(chan struct{})
	old.heir = mine
	blocked := old.blocked
	n.mu.Unlock()
	n.more()
	how := n.howAgain(c, blocked)
	n.mu.Lock()
	if how != restarted {
		old.stop()
	}
	if how == anew && old.heir == mine {
		old.passOver()
		n.active[c.tid] = w
		return w, o, false
	}
	n.mu.Unlock()
	select {
	case <-mine:
	case <-old.over:
	}
	n.mu.Lock()
	if old.heir != mine {
		return nil, o, false
	}
	n.active[c.tid] = w
	if how == ended && !old.told && !old.left {
		return w, outcome{errno: unix.EINTR, inode: old.outcome.inode}, true
	}
	return w, old.outcome, old.left
}

// do does a call, and waits if it has to.
func (n *notifier) do(w *work, do handler) outcome {
	c := w.call
	o := do(n, c)
	if !o.waits {
		return o
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	n.mu.Lock()
	w.cancel, w.blocked = cancel, c.about != nil && c.about.fd >= 0 && !isNonblocking(c.about.fd)
	n.mu.Unlock()
	defer cancel(nil)
	held, unwatch := func() {}, func() {}
	c.waits = sync.OnceFunc(func() {
		held()
		n.more() // only now: others can receive what ends it
		unwatch = n.broker.After(watchAfter, func() { n.lender.watch(ctx, c.tid, func() { cancel(broker.ErrGone) }) })
	})
	if o.says {
		held = n.broker.After(heldFor, n.more)
	} else {
		c.waits()
	}
	c.ctx = ctx
	o = do(n, c)
	held()
	unwatch()
	return o
}

// heldFor is how long a call that says when it waits may be at work before others are
// received all the same.
const heldFor = 2 * time.Millisecond

// watchAfter is how long a call has to wait for its thread to be watched: with that
// its context ends, too.
const watchAfter = 20 * time.Millisecond

// finish tells what a call has come to, or leaves it to who makes it again.
func (n *notifier) finish(w *work, o outcome) {
	if !o.holds {
		w.call.giveBack() // when the program closes the socket, it is to be closed
	}
	told := n.answer(w.call, o)
	if !told && !o.once && o.lost != nil {
		o.lost() // before the heir begins, who takes it then
	}
	if w.call.about != nil {
		o.inode = w.call.about.inode
	}
	n.mu.Lock()
	switch {
	case w.heir != nil: // who takes its place
		w.outcome, w.told, w.left = o, told, !told && o.once
	case !told && o.once:
		n.remember(undelivered{w.call, o, time.Now()})
		fallthrough
	default:
		if n.active[w.call.tid] == w {
			delete(n.active, w.call.tid)
		}
	}
	n.mu.Unlock()
	close(w.over)
}

// remember keeps what nobody was told. n.mu must be held.
func (n *notifier) remember(u undelivered) {
	if len(n.undelivered) >= maxUndelivered {
		for tid, old := range n.undelivered {
			if time.Since(old.at) > restartLife {
				n.drop(tid)
			}
		}
	}
	n.drop(u.call.tid)
	n.undelivered[u.call.tid] = u
}

// drop forgets what a thread was not told. n.mu must be held.
func (n *notifier) drop(tid int) {
	if u, there := n.undelivered[tid]; there {
		u.outcome.drop()
	}
	delete(n.undelivered, tid)
}

// drop closes the descriptor of an outcome that nobody will be told.
func (o *outcome) drop() {
	if o.fd > 0 {
		unix.Close(o.fd)
	}
}

// madeBefore returns the outcome of the same call of the same thread, if that was done
// and not told.
func (n *notifier) madeBefore(c *call) (o outcome, made bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, there := n.undelivered[c.tid]
	switch {
	case !there:
	case time.Since(u.at) > restartLife:
		n.drop(c.tid)
	case c.isAgain(u.call):
		delete(n.undelivered, c.tid)
		return u.outcome, true
	}
	return o, false
}
