package launcher

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is the life of the command as the engine, its parent, sees it. Its
// methods are safe for concurrent use.
type child struct {
	report func(report)
	ending sync.Mutex // held while end is at work

	mu      sync.Mutex       // guards what follows
	pid     int              // the process that is or becomes the command; 0 before
	running bool             // it has become the command
	pending []syscall.Signal // came before we knew that; delivered then
	lost    func()           // called when pid has ended in misfortune before it became the command
	stopped bool             // pid is stopped
	keeper  int              // the keeper, 0 before
	retired bool             // the keeper is to end
	reaping bool             // a goroutine waits for children
	again   bool             // and is to look again when it finds none

	frontStops bool // the front has said that it stops, and nobody has continued it since
	waking     int  // how often it is being woken because of that

	keeping chan struct{}  // closed when the keeper has ended and was not to
	ends    map[int]report // how those children ended that may prove to be the command
	reaped  sync.Cond      // ends has grown, or waking is less; its lock is mu
}

func newChild(f func(report)) *child {
	c := &child{report: f, ends: make(map[int]report), keeping: make(chan struct{}), lost: func() {}}
	c.reaped.L = &c.mu
	return c
}

// watch begins to reap: pid, which becomes the command, and whatever comes to
// the engine as the subreaper. If pid ends before it has become the command and
// without having left that to another, lost is called; it must not wait.
func (c *child) watch(pid int, lost func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid, c.lost = pid, lost
	c.again = c.reaping
	if !c.reaping {
		c.reaping = true
		go c.reap()
	}
}

// forget ends the process that was to become the command, for another one.
func (c *child) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ended := c.ends[c.pid]; !ended {
		unix.Kill(c.pid, unix.SIGKILL)
	}
	c.pid, c.lost = 0, func() {}
}

// takeOver says that not the stage but its child pid becomes the command; 0 says
// nothing. pid must not have been told to go on yet.
func (c *child) takeOver(pid int) {
	if pid == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
	if end, ended := c.ends[pid]; ended && end.Code != 0 {
		c.lost()
	}
}

// started says that the process has become the command: signals reach it now,
// and those that came between its first words and our hearing of it.
func (c *child) started() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = true
	for _, sig := range c.pending {
		c.deliver(sig)
	}
	c.pending = nil
	return c.pid
}

// reap waits for every child in turn until there is none.
func (c *child) reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WUNTRACED|unix.WCONTINUED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil && c.rest() {
			return
		}
		if err == nil {
			c.changed(pid, ws)
		}
	}
}

// rest ends the reaping, unless there may be another child by now.
func (c *child) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reaping, c.again = c.again, false
	return !c.reaping
}

// changed is told of every change of state of a child.
func (c *child) changed(pid int, ws unix.WaitStatus) {
	switch {
	case ws.Exited():
		c.ended(pid, report{Event: eventExit, PID: pid, Code: ws.ExitStatus()})
	case ws.Signaled():
		c.ended(pid, report{Event: eventExit, PID: pid, Code: 128 + int(ws.Signal()), Signal: ws.Signal()})
	case !c.is(pid):
	case ws.Stopped():
		c.stands(true)
		c.report(report{Event: eventStopped, PID: pid, Signal: ws.StopSignal()})
	case ws.Continued():
		c.stands(false)
	}
}

// stands notes that the command has been stopped or continued. The front, which
// has stopped because of it or is about to, follows whoever continued it.
func (c *child) stands(stopped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = stopped
	c.wakeIfDue()
}

// frontStopping is told that the front is about to stop as the command has. That
// may have been continued meanwhile.
func (c *child) frontStopping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frontStops = true
	c.wakeIfDue()
}

// wakeIfDue begins to wake the front if it has stopped and the command has not.
// c.mu must be held.
func (c *child) wakeIfDue() {
	if !c.frontStops || c.stopped {
		return
	}
	c.waking++
	go func() {
		c.wakeFront()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waking--
		c.reaped.Broadcast()
	}()
}

// waitWoken waits until the front has been woken where that was due: one that
// stops as the command did would stay so without us.
func (c *child) waitWoken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waking > 0 {
		c.reaped.Wait()
	}
}

// wakeFront continues the front, which has said that it is about to stop, once
// it has. It gives up when the command has been stopped again, or the front has
// been seen to run for some time: somebody else has continued it.
func (c *child) wakeFront() {
	front := os.Getppid()
	for range wakeLooks {
		c.mu.Lock()
		due := c.frontStops && !c.stopped && os.Getppid() == front
		_, state, _, ok := procStat(front)
		if due && ok && state == 'T' {
			unix.Kill(front, unix.SIGCONT)
			c.frontStops, due = false, false
		}
		c.mu.Unlock()
		if !due || !ok {
			return
		}
		time.Sleep(wakePause)
	}
}

// frontGoesOn is told that somebody has continued the front.
func (c *child) frontGoesOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frontStops = false
}

// How often, and how long after each other, one looks whether the front has
// stopped as it said: it is on its way.
const (
	wakeLooks = 1000
	wakePause = 5 * time.Millisecond
)

// is reports whether pid is the command or becomes it: a Ctrl-Z is for that
// process too.
func (c *child) is(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pid == c.pid
}

// ended keeps the end of a child for wait. Before the command runs any child
// may prove to be it: a command can end before we have heard that it began.
func (c *child) ended(pid int, end report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pid == c.pid || pid == c.keeper || !c.running {
		c.ends[pid] = end
		c.reaped.Broadcast()
	}
	if pid == c.keeper && !c.retired {
		close(c.keeping)
	}
	if pid == c.pid && !c.running && end.Code != 0 {
		c.lost()
	}
}

// wait waits for the end of the command and returns it.
func (c *child) wait() report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitFor(c.pid)
}

// waitFor waits for the end of pid. c.mu must be held.
func (c *child) waitFor(pid int) report {
	for {
		if end, ok := c.ends[pid]; ok {
			return end
		}
		c.reaped.Wait()
	}
}

// keep says that pid is the keeper; 0 says nothing.
func (c *child) keep(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeper = pid
	if _, ended := c.ends[pid]; ended {
		close(c.keeping)
	}
}

// endKeeper ends the keeper and waits until it is gone.
func (c *child) endKeeper() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = true
	if c.keeper == 0 {
		return
	}
	if _, ended := c.ends[c.keeper]; !ended {
		unix.Kill(c.keeper, unix.SIGKILL)
		c.waitFor(c.keeper)
	}
}

// signal sends sig to the command and reports whether it runs. If it does not
// yet, sig is kept for it.
func (c *child) signal(sig syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running && sig == unix.SIGCONT {
		// Now: who is stopped does not become the command.
		for _, pid := range strangers() {
			unix.Kill(pid, sig)
		}
		return false
	}
	if !c.running {
		c.pending = append(c.pending, sig)
		return false
	}
	c.deliver(sig)
	return true
}

// runs reports whether the command is known to run.
func (c *child) runs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// deliver sends sig to the command unless it has ended: then its pid may be
// another's. c.mu must be held.
func (c *child) deliver(sig syscall.Signal) {
	if _, ended := c.ends[c.pid]; !ended {
		unix.Kill(c.pid, sig)
	}
}

// end ends the command and all that it has left: TERM, and KILL to what is
// still there after timeout. It returns when there is nothing left. A command
// that has ended by itself is left its daemons.
func (c *child) end(timeout time.Duration) {
	c.ending.Lock()
	defer c.ending.Unlock()
	if !c.hasEnded() {
		endAll(c.left, timeout)
	}
}

// left returns all that is left of the command: the strangers without the
// keeper, which keeps to the last.
func (c *child) left() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(strangers(), func(pid int) bool { return pid == c.keeper })
}

// waitEnd waits until an end that has begun has come to the last process.
func (c *child) waitEnd() {
	c.ending.Lock()
	defer c.ending.Unlock()
}

// fate returns the signal that has ended the process that was to become the
// command, 0 if none has. It waits for the end: call it when the process is
// known to be gone.
func (c *child) fate() syscall.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitFor(c.pid).Signal
}

func (c *child) hasEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ended := c.ends[c.pid]
	return c.running && ended
}
