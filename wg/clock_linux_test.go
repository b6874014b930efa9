package wg

import (
	"os"
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

// Of the jumps of the time of day only those count that are the end of a sleep,
// and each sleep counts once. A pipe stands for the timerfd that the kernel
// cancels.
func TestOnlyASleepIsTakenForASleep(t *testing.T) {
	jumps, jump, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer jump.Close()
	c, ok := newClock().(*bootClock)
	if !ok {
		t.Skip("there is no timerfd here")
	}
	if c.sleep != nil {
		c.sleep.Close()
	}
	c.sleep = jumps
	asked, asleep, armed := make(chan struct{}), make(chan Instant), 0
	c.asleep = func() Instant { asked <- struct{}{}; return <-asleep }
	c.cancel = func(uintptr) error { armed++; return nil }
	slept := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watchSleep(func() { slept++ })
	}()
	hour := Instant(time.Hour)
	for i, step := range []struct {
		asleep Instant
		want   int // sleeps seen before this answer
	}{
		{hour, 0},                        // at the beginning: it slept before
		{hour, 0},                        // the clock was set: no sleep
		{hour + Instant(time.Second), 0}, // a second is no sleep: the two clocks are read one after the other
		{2 * hour, 0},
		{2 * hour, 1}, // the same sleep
		{3 * hour, 1},
	} {
		if i > 0 {
			jump.Write(make([]byte, 8))
		}
		<-asked
		if slept != step.want {
			t.Errorf("step %d: %d sleeps were told, want %d", i, slept, step.want)
		}
		asleep <- step.asleep
	}
	jump.Write(make([]byte, 8))
	<-asked
	asleep <- 3 * hour
	c.close()
	jump.Write(make([]byte, 8))
	<-done
	if slept != 2 || armed < 6 {
		t.Errorf("%d sleeps were told and the timer was armed %d times, want 2 and 6", slept, armed)
	}
}

// The kernel accepts what the clock asks of it.
func TestSleepIsWatchedForUntilClose(t *testing.T) {
	c, ok := newClock().(*bootClock)
	if !ok || c.sleep == nil {
		t.Skip("there is no timerfd that is cancelled here")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watchSleep(func() { t.Error("the machine was asleep") })
	}()
	if timeAsleep() < -Instant(time.Second) { // the two are read one after the other
		t.Error("CLOCK_BOOTTIME is behind CLOCK_MONOTONIC")
	}
	c.close()
	<-done
}
