package broker

import (
	"container/heap"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// later calls functions when a time has passed, as time.AfterFunc does, for waits that
// begin often and hardly ever last as long. A timer of Go's that is the next to come due
// wakes the thread that waits in the poller, to make it wait for less; setting a
// timerfd wakes nobody, and it need not be set while it is to come due before.
type later struct {
	mu      sync.Mutex // guards what follows
	fd      int        // the timer
	file    *os.File   // of fd; nil: there is none
	due     time.Time  // when it comes due; zero: never
	pending laterCalls
}

// A laterCall is a function that is going to be called.
type laterCall struct {
	at    time.Time
	do    func()
	place int // in the heap; -1: in none
}

// laterCalls is a heap: the one that comes due first is the first.
type laterCalls []*laterCall

func (h laterCalls) Len() int           { return len(h) }
func (h laterCalls) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h laterCalls) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *laterCalls) Push(x any) {
	c := x.(*laterCall)
	c.place = len(*h)
	*h = append(*h, c)
}

func (h *laterCalls) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last], c.place = nil, -1
	*h = (*h)[:last]
	return c
}

// open makes the timer, and waits for it until close.
func (l *later) open() error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "timer")
	l.fd, l.file = fd, f
	go func() {
		var times [8]byte
		for {
			if _, err := f.Read(times[:]); err != nil {
				return
			}
			l.ring()
		}
	}()
	return nil
}

func (l *later) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
	l.file = nil
	for len(l.pending) > 0 {
		heap.Pop(&l.pending)
	}
}

// ring has called what is due, each on a goroutine of its own.
func (l *later) ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = time.Time{}
	for now := time.Now(); len(l.pending) > 0; {
		if first := l.pending[0]; first.at.After(now) {
			l.set(first.at, first.at.Sub(now))
			return
		}
		go heap.Pop(&l.pending).(*laterCall).do()
	}
}

// set has the timer come due once. l.mu must be held.
func (l *later) set(at time.Time, in time.Duration) {
	l.due = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(in), 1))}
	unix.TimerfdSettime(l.fd, 0, &spec, nil)
}

// after calls do when that much time has passed, unless stop is called before. stop
// does not wait for do.
func (l *later) after(d time.Duration, do func()) (stop func()) {
	c := &laterCall{at: time.Now().Add(d), do: do}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return func() {}
	}
	heap.Push(&l.pending, c)
	if l.due.IsZero() || c.at.Before(l.due) {
		l.set(c.at, d)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if c.place >= 0 {
			heap.Remove(&l.pending, c.place)
		}
	}
}

// After calls do when that much time has passed, unless stop is called or the Broker is
// closed before: for what is often begun and seldom lasts.
func (b *Broker) After(d time.Duration, do func()) (stop func()) { return b.later.after(d, do) }
