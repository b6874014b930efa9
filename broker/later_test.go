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

func TestLaterCallsInTheOrderOfTime(t *testing.T) {
	l := openLater(t)
	defer l.close()
	begin := time.Now()
	calls := make(chan time.Duration)
	for _, d := range []time.Duration{30, 10, 20} {
		l.after(d*time.Millisecond, func() { calls <- d * time.Millisecond })
	}
	for _, want := range []time.Duration{10, 20, 30} {
		want *= time.Millisecond
		if got := <-calls; got != want {
			t.Errorf("got the call after %v, want the one after %v", got, want)
		}
		if since := time.Since(begin); since < want {
			t.Errorf("it came after %v, want %v at least", since, want)
		}
	}
}

// What is called is what was not stopped, also when the timer was set for what was.
func TestLaterDoesNotCallWhatWasStopped(t *testing.T) {
	l := openLater(t)
	defer l.close()
	calls := make(chan string, 2)
	stop := l.after(time.Millisecond, func() { calls <- "stopped" })
	l.after(20*time.Millisecond, func() { calls <- "kept" })
	stop()
	if got := <-calls; got != "kept" {
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
