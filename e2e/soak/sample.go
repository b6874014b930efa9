package soak

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"adit/e2e/lab"
)

// CountDir is where processes of a binary that was built with the tag soak write
// what cannot be seen from outside: cmd/adit/count.go.
const CountDir = "/run/adit-count"

// Measures are what is measured of a process, in this order.
var Measures = []string{"memory", "heap", "descriptors", "threads", "goroutines"}

// Measure returns what a process holds: memory and heap in bytes. What cannot
// be known is not in the map; ok is false if there is no such process.
func Measure(pid int) (m map[string]float64, ok bool) {
	m = map[string]float64{}
	if rss := lab.RSS(pid); rss > 0 {
		m["memory"] = float64(rss)
	}
	if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		m["descriptors"] = float64(len(fds))
	}
	if tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)); err == nil {
		m["threads"] = float64(len(tasks))
	}
	if b, err := os.ReadFile(filepath.Join(CountDir, fmt.Sprint(pid))); err == nil {
		var goroutines, heap float64
		if _, err := fmt.Sscan(string(b), &goroutines, &heap); err == nil {
			m["goroutines"], m["heap"] = goroutines, heap
		}
	}
	return m, m["memory"] > 0
}

// Adits returns the adit processes from pid downwards, by the name that each
// gave itself.
func Adits(pid int) map[string]int {
	all := map[string]int{}
	self, _ := lab.ReadProcess(pid)
	for _, p := range append(lab.Descendants(pid), self) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID))
		if name := strings.TrimSpace(string(comm)); strings.HasPrefix(name, "adit") {
			all[name] = p.PID
		}
	}
	return all
}
