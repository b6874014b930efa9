package wg

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// timerfd_create(2): CLOCK_BOOTTIME goes on while the machine sleeps.
func TestTheClockIsBoottime(t *testing.T) {
	c, ok := newClock().(*bootClock)
	if !ok {
		t.Skip("no timerfd on CLOCK_BOOTTIME here")
	}
	defer c.close()
	before := readClock(unix.CLOCK_BOOTTIME)
	now := c.now()
	if after := readClock(unix.CLOCK_BOOTTIME); now < before || now > after {
		t.Fatalf("the clock says %d, CLOCK_BOOTTIME %d to %d", now, before, after)
	}
}

func TestClocksFireAndMoveAndClose(t *testing.T) {
	for name, c := range map[string]clock{"boottime": newClock(), "Go": newGoClock()} {
		start := c.now()
		c.arm(start.after(time.Hour))
		c.arm(start.after(10 * time.Millisecond)) // earlier
		if !c.wait() || c.now() < start.after(10*time.Millisecond) {
			t.Errorf("%s: fired after %v", name, time.Duration(c.now()-start))
		}
		c.arm(start) // past
		if !c.wait() {
			t.Errorf("%s: did not fire for a time past", name)
		}
		ended := make(chan bool)
		go func() { ended <- c.wait() }()
		slept := make(chan struct{})
		go func() { c.watchSleep(func() {}); close(slept) }()
		c.close()
		c.close()
		if <-ended {
			t.Errorf("%s: wait reported true after close", name)
		}
		<-slept
		c.arm(start)
	}
}
