package wg

import (
	"encoding/hex"
	"testing"
	"time"
)

// §5.1: TAI64N; the whitening is the kernel's (noise.c, tai64n_now).
func TestTimestampFormat(t *testing.T) {
	ts := newTimestamp(time.Unix(0, 0), timestamp{})
	if got := hex.EncodeToString(ts[:]); got != "400000000000000a00000000" {
		t.Fatalf("the epoch is %s", got)
	}
	ts = newTimestamp(time.Unix(1700000000, 999999999), timestamp{})
	if got := hex.EncodeToString(ts[:]); got != "400000006553f10a3b000000" {
		t.Fatalf("1700000000.999999999 is %s, want the nanoseconds rounded down to 2^24", got)
	}
}

func TestTimestampsAlwaysGrow(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var last timestamp
	for i := range 1000 {
		at := now.Add(time.Duration(i%7-3) * time.Hour) // back and forth
		ts := newTimestamp(at, last)
		if !ts.later(last) {
			t.Fatalf("step %d: %x is not later than %x", i, ts, last)
		}
		last = ts
	}
}

func TestTimestampAfterALastOneThatIsNotOurs(t *testing.T) {
	last := makeTimestamp(1<<62+100, 999999999) // not rounded, at the end of a second
	ts := newTimestamp(time.Unix(0, 0), last)
	if want := makeTimestamp(1<<62+101, 0); ts != want {
		t.Fatalf("%x follows %x, want %x", ts, last, want)
	}
}
