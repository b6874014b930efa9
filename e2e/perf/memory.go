package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"adit/e2e/lab"
)

// peakOf returns the most memory that the process has had resident, restOf what
// it has now, in MB (10⁶ bytes).
func peakOf(pid int) float64 { return memoryOf(pid, "VmHWM") }
func restOf(pid int) float64 { return memoryOf(pid, "VmRSS") }

func memoryOf(pid int, field string) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return float64(statusField(b, field)) * 1024 / 1e6
}

// sumOf adds f up over the processes.
func sumOf(pids []int, f func(pid int) float64) (sum float64) {
	for _, pid := range pids {
		sum += f(pid)
	}
	return sum
}

// A peak is the most memory that processes have had resident together. The sum
// of their own peaks would be more than there ever was at one time.
type peak struct {
	most  atomic.Int64 // bytes
	ended chan struct{}
}

// memoryPause is how often memory is looked at.
const memoryPause = 20 * time.Millisecond

// watchMemory looks at the processes' memory until stop.
func watchMemory(pids []int) *peak {
	p := &peak{ended: make(chan struct{})}
	go func() {
		tick := time.NewTicker(memoryPause)
		defer tick.Stop()
		for {
			var sum int
			for _, pid := range pids {
				sum += lab.RSS(pid)
			}
			p.most.Store(max(p.most.Load(), int64(sum)))
			select {
			case <-tick.C:
			case <-p.ended:
				return
			}
		}
	}()
	return p
}

func (p *peak) mb() float64 { return float64(p.most.Load()) / 1e6 }
func (p *peak) stop()       { close(p.ended) }
