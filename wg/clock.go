package wg

import (
	"sync"
	"time"
)

// A clock is time and the engine's one timer.
type clock interface {
	// now returns the time. Safe for concurrent use.
	now() Instant
	// arm makes wait return at at, which may be past, instead of when it was
	// armed for before. Safe for concurrent use, also after close.
	arm(at Instant)
	// wait waits until the timer fires and reports true; false after close.
	// One goroutine at a time.
	wait() bool
	// watchSleep calls slept after each time that the machine was asleep,
	// until close. It returns at once if it cannot tell.
	watchSleep(slept func())
	// close ends wait and watchSleep.
	close()
}

// goClock is the clock of the Go runtime. It stands still while the machine
// sleeps, so it is used only where the system has no better one, and in tests.
type goClock struct {
	start time.Time
	timer *time.Timer
	once  sync.Once
	done  chan struct{} // closed by close
}

func newGoClock() *goClock {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &goClock{start: time.Now(), timer: t, done: make(chan struct{})}
}

// now never returns 0, which means never.
func (c *goClock) now() Instant { return Instant(time.Since(c.start)) + Instant(time.Second) }

func (c *goClock) arm(at Instant) { c.timer.Reset(time.Duration(at - c.now())) }

func (c *goClock) wait() bool {
	select {
	case <-c.timer.C:
		return true
	case <-c.done:
		return false
	}
}

func (c *goClock) watchSleep(func()) {}

func (c *goClock) close() {
	c.once.Do(func() {
		c.timer.Stop()
		close(c.done)
	})
}
