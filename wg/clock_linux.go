package wg

import (
	"errors"
	"math"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bootClock is CLOCK_BOOTTIME, which goes on while the machine sleeps, and a
// timerfd on it. Timers of the Go runtime are on CLOCK_MONOTONIC, which does
// not: a session would outlive its 180 s by the length of the sleep. A timer
// that came due during sleep fires on waking.
//
// Its system calls, none of which can block, are raw: an ordinary one wakes the
// runtime's monitor thread, and a keepalive in the silence would be three
// wake-ups instead of one.
type bootClock struct {
	timer *os.File // timerfd(CLOCK_BOOTTIME), read through the netpoller
	sleep *os.File // timerfd(CLOCK_REALTIME) that is never due, or nil

	asleep func() Instant         // how long the machine has been asleep since it was started
	cancel func(fd uintptr) error // arms sleep for the next jump

	mu sync.Mutex // guards fd
	fd int        // of timer; -1 after close
}

// newClock returns the best clock there is.
func newClock() clock {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newGoClock()
	}
	c := &bootClock{fd: fd, timer: os.NewFile(uintptr(fd), "timerfd"), asleep: timeAsleep, cancel: armCancel}
	if fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err == nil {
		c.sleep = os.NewFile(uintptr(fd), "timerfd")
		if armCancel(uintptr(fd)) != nil {
			c.sleep.Close()
			c.sleep = nil
		}
	}
	return c
}

func (c *bootClock) now() Instant { return readClock(unix.CLOCK_BOOTTIME) }

func readClock(id int32) Instant {
	var ts unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("BUG: clock_gettime: " + errno.Error()) // only for an unknown clock
	}
	return Instant(ts.Nano())
}

func (c *bootClock) arm(at Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(at, 1)))}
	unix.TimerfdSettime(c.fd, unix.TFD_TIMER_ABSTIME, &spec, nil) // fails for bad arguments alone
}

func (c *bootClock) wait() bool {
	conn, err := c.timer.SyscallConn()
	return err == nil && conn.Read(expired) == nil
}

// expired reads a timerfd and reports whether it was due.
func expired(fd uintptr) bool {
	var expirations uint64
	_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&expirations)), unsafe.Sizeof(expirations))
	return errno == 0
}

// armCancel arms fd for the end of time, so that what it reports is only that
// the time of day jumped. The kernel counts waking up as such a jump
// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; fs/timerfd.c, timerfd_resume).
func armCancel(fd uintptr) error {
	spec := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt32}}
	return unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
}

// timeAsleep returns by how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC.
func timeAsleep() Instant { return readClock(unix.CLOCK_BOOTTIME) - readClock(unix.CLOCK_MONOTONIC) }

// watchSleep needs no polling: it waits for the time of day to jump and looks
// whether CLOCK_BOOTTIME has run ahead of CLOCK_MONOTONIC.
func (c *bootClock) watchSleep(slept func()) {
	if c.sleep == nil {
		return
	}
	before := c.asleep()
	var expirations [8]byte
	for {
		_, err := c.sleep.Read(expirations[:])
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return // closed
		}
		raw, err := c.sleep.SyscallConn()
		if err != nil {
			return
		}
		var armed error
		if err := raw.Control(func(fd uintptr) { armed = c.cancel(fd) }); err != nil || armed != nil {
			return
		}
		if now := c.asleep(); now-before > Instant(time.Second) {
			before = now
			slept()
		}
	}
}

func (c *bootClock) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return
	}
	c.fd = -1
	c.timer.Close()
	if c.sleep != nil {
		c.sleep.Close()
	}
}
