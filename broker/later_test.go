package broker

import (
	"testing"
	"time"
)

func openLater(t *testing.T) *later {
	t.Helper()
	l := new(later)
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	return l
}

// None comes too early, and each comes: also one that is due before those that the timer
// was set for, and one that is due after them.
func TestLaterCallsWhenTheTimeHasPassed(t *testing.T) {
	l := openLater(t)
	defer l.close()
	begin := time.Now()
	calls := make(chan time.Duration)
	all := []time.Duration{30, 10, 20, 1}
	for _, d := range all {
		l.after(d*time.Millisecond, func() { calls <- d * time.Millisecond })
	}
	for range all {
		if d := <-calls; time.Since(begin) < d {
			t.Errorf("the call after %v came after %v", d, time.Since(begin))
		}
	}
}

// What is called is what was not stopped, also when the timer was set for what was.
func TestLaterDoesNotCallWhatWasStopped(t *testing.T) {
	l := openLater(t)
	defer l.close()
	const early = 20 * time.Millisecond
	calls := make(chan string, 2)
	begin := time.Now()
	stop := l.after(early, func() { calls <- "stopped" })
	l.after(2*early, func() { calls <- "kept" })
	stop()
	inTime := time.Since(begin) < early // or it was called, and rightly
	if got := <-calls; got != "kept" && inTime {
		t.Errorf("the call that was %s came", got)
	}
	stop() // again, and in vain
	again := make(chan bool)
	l.after(time.Millisecond, func() { close(again) }) // the timer is of use once more
	<-again
}

func TestLaterCallsNothingAfterItsEnd(t *testing.T) {
	l := openLater(t)
	l.after(time.Hour, func() { t.Error("an hour has passed") })
	l.close()
	stop := l.after(0, func() { t.Error("it was called") })
	stop()
	l.ring()
	if n := len(l.pending); n != 0 {
		t.Errorf("%d calls are waited for, want none", n)
	}
}
