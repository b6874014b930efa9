package wg

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// seedsToRun returns the first seed and how many: ADIT_SEED and ADIT_SEEDS, or
// a hundred from 1.
func seedsToRun(t *testing.T) (first, n uint64) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		s := os.Getenv(name)
		if s == "" {
			return otherwise
		}
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	n = 100
	if testing.Short() {
		n = 10
	}
	return number("ADIT_SEED", 1), number("ADIT_SEEDS", n)
}

// liveAWeek lives the week of a seed and returns what it saw, a hash of every
// datagram, and what failed.
func liveAWeek(seed uint64, d time.Duration) (c counts, script uint64, failed string) {
	m := newWeek(seed)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			failed = fmt.Sprintf("%s\nwhat happened before:\n\t%s", r, strings.Join(m.diary[max(0, len(m.diary)-12):], "\n\t"))
		default:
			failed = fmt.Sprintf("panic: %v\n%s", r, stack())
		}
	}()
	m.live(d)
	return m.count, m.Transcript(), ""
}

func stack() string {
	b := make([]byte, 1<<14)
	return string(b[:runtime.Stack(b, false)])
}

const replay = "see it again: ADIT_SEED=%d ADIT_SEEDS=1 go test -count=1 -run '^%s$' ./wg"

// A week of protocol time per seed, with whatever may happen in it: no nonce is
// used twice (§5.4.6), no packet comes twice, forged, or from who may not send
// it (§2), no key is used after 180 s (§6.2), handshakes keep their rate (§6.1),
// peers that can reach each other talk within the time that the timers allow
// (sim_bounds_test.go), whoever wakes from sleep talks in a round trip, idle
// peers fall silent and forget, and nothing grows.
func TestAnyWeek(t *testing.T) {
	t.Parallel()
	first, n := seedsToRun(t)
	var next atomic.Uint64
	var mu sync.Mutex // guards total and failures
	var total counts
	failures := 0
	began := time.Now()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < n; i = next.Add(1) - 1 {
				c, _, failed := liveAWeek(first+i, 7*24*time.Hour)
				mu.Lock()
				total.add(c)
				if failed != "" {
					if failures++; failures <= 5 {
						t.Errorf("seed %d: %s\n"+replay, first+i, failed, first+i, t.Name())
					}
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if failures > 5 {
		t.Errorf("%d seeds failed", failures)
	}
	t.Logf("%d weeks in %v: %+v", n, time.Since(began).Round(time.Millisecond), total)
	if n >= 50 && failures == 0 {
		total.wantEventful(t, int(n))
	}
}

// wantEventful fails if too little happened to prove anything.
func (c *counts) wantEventful(t *testing.T, n int) {
	t.Helper()
	for _, x := range []struct {
		what     string
		got, min int
	}{
		{"packets delivered", c.delivered, 200 * n}, {"handshakes", c.handshakes, 30 * n},
		{"pairs that had to talk", c.talks, 10 * n}, {"wakings", c.wakings, n / 2}, {"meetings half-way", c.meetings, n / 2},
		{"times of silence", c.silences, 5 * n}, {"injected datagrams", c.injected, 20 * n}, {"moves", c.moves, n},
		{"restarts", c.restarts, n}, {"changes", c.changes, n}, {"loads", c.loaded, n / 2}, {"questions for a name", c.lookups, n},
		{"weeks with a NAT", c.seedsWithNATs, n / 3},
	} {
		if x.got < x.min {
			t.Errorf("%d %s in %d weeks, want at least %d: the model is too tame", x.got, x.what, n, x.min)
		}
	}
	if c.excused > c.talks/2 {
		t.Errorf("%d pairs were excused, %d had to talk", c.excused, c.talks)
	}
}

// One seed is one week, byte for byte, or no failure could be seen again.
func TestASeedIsOneWeek(t *testing.T) {
	_, one, failed := liveAWeek(7, 48*time.Hour)
	_, two, _ := liveAWeek(7, 48*time.Hour)
	_, other, _ := liveAWeek(8, 48*time.Hour)
	if failed != "" || one != two {
		t.Errorf("one seed made two weeks: %x, %x %s", one, two, failed)
	}
	if one == other {
		t.Error("two seeds made one week")
	}
}
