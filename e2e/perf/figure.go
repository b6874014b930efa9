package main

import "fmt"

// A figureKind is one thing that a trial may find, and how it is written.
type figureKind struct {
	name     string // in JSON
	title    string // of a column
	decimals int
	compared bool // the ratio to another side says something
}

// allFigures are the columns of the report, from left to right.
var allFigures = []figureKind{
	{"gbps", "Gb/s", 2, true},
	{"cpu", "CPU-s/GiB", 3, true},
	{"user", "user", 3, false},
	{"system", "system", 3, false},
	{"kpps", "kpkt/s", 1, false},
	{"us_packet", "CPU µs/packet", 2, true},
	{"lost", "lost %", 2, false},
	{"tps", "transactions/s", 0, true},
	{"us_transaction", "CPU µs/transaction", 1, true},
	{"p50", "RTT p50 µs", 0, true},
	{"p99", "RTT p99 µs", 0, true},
	{"ms", "ms", 1, true},
	{"dial", "connection µs", 0, true},
	{"added", "of that not in the tunnel, µs", 0, true},
	{"getppid", "getppid µs", 2, false},
	{"rw", "write, read µs", 2, false},
	{"sendmsg", "unix sendmsg µs", 2, false},
	{"recvmsg", "unix recvmsg µs", 2, false},
	{"syscalls", "system calls/MiB", 1, true},
	{"moved", "bytes moved/byte", 2, false},
	{"switches", "switches/MiB", 2, true},
	{"allocs", "allocations/MiB", 1, true},
	{"wakeups", "voluntary switches", 0, false},
	{"per_interval", "the same/interval", 1, false},
	{"rss", "peak RSS MB", 1, false},
	{"rss_all", "peak RSS of all MB", 1, false},
	{"rss_rest", "RSS of all MB", 1, false},
}

func figureOf(name string) figureKind {
	for _, f := range allFigures {
		if f.name == name {
			return f
		}
	}
	panic("BUG: no such figure: " + name)
}

func (f figureKind) format(v float64) string { return fmt.Sprintf("%.*f", f.decimals, v) }
