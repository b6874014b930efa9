package main

import (
	"math"
	"os"
	"testing"
)

func TestStatIsReadBehindTheName(t *testing.T) {
	// proc_pid_stat(5): a name may hold anything.
	line := "17 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 75 0 0 20 0 1 0 1 1 1"
	user, system, err := parseStat([]byte(line))
	if err != nil || user != 2.5 || system != 0.75 {
		t.Errorf("got %v, %v, %v, want 2.5, 0.75", user, system, err)
	}
	if _, _, err := parseStat([]byte("17 (x) S 1 2")); err == nil {
		t.Error("a short line is no error")
	}
}

func TestStatusFieldIsFoundByItsWholeName(t *testing.T) {
	text := []byte("Name:\tx\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t41\nVmHWM:\t  1024 kB\n")
	for name, want := range map[string]int64{"voluntary_ctxt_switches": 41, "VmHWM": 1024, "VmRSS": 0} {
		if got := statusField(text, name); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

func TestExactTimeIsTakenWhileAllThreadsLive(t *testing.T) {
	before := usage{user: 1, system: 1, exact: map[int]int64{1: 2e9}, switches: map[int]int64{1: 10}}
	after := usage{user: 1.03, system: 1.01, exact: map[int]int64{1: 2.04e9, 2: 0.02e9}, switches: map[int]int64{1: 14, 2: 3}}
	s := after.since(before)
	if math.Abs(s.cpu()-0.06) > 1e-9 || math.Abs(s.user-0.045) > 1e-9 || s.switches != 7 {
		t.Errorf("got %+v, want 0.06 s, three quarters of it user, and 7 switches", s)
	}
	delete(after.exact, 1)
	if s := after.since(before); math.Abs(s.cpu()-0.04) > 1e-9 {
		t.Errorf("a thread has ended: got %+v, want the 0.04 s of the ticks", s)
	}
}

func TestUsageOfThisProcessGrows(t *testing.T) {
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	x := 1.0
	for i := range 30_000_000 {
		x += float64(i) / x
	}
	after, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if s := after.since(before); s.cpu() <= 0 || math.IsNaN(x) {
		t.Errorf("got %+v after computing for a while", s)
	}
	if peak, rest := peakOf(os.Getpid()), restOf(os.Getpid()); peak < 1 || rest < 1 || peak > 10_000 {
		t.Errorf("peak %v MB, now %v MB", peak, rest)
	}
}

func TestIperfsWordsAreRead(t *testing.T) {
	bytes, seconds, err := parseIperf([]byte(`{"end":{"sum_received":{"bytes":4096,"seconds":2.5}}}`))
	if err != nil || bytes != 4096 || seconds != 2.5 {
		t.Errorf("got %v, %v, %v", bytes, seconds, err)
	}
	for _, bad := range []string{`{"error":"unable to connect"}`, `iperf3: error`} {
		if _, _, err := parseIperf([]byte(bad)); err == nil {
			t.Errorf("%s is no error", bad)
		}
	}
}
