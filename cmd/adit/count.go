//go:build soak

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"
)

// countDir is where a binary that was built to be soaked (e2e/soak) writes what
// cannot be seen from outside, if the folder is there: a file for each process,
// named after its pid.
const countDir = "/run/adit-count"

func init() {
	// The stage becomes the command, and the keeper has a file system of its own.
	if slices.Contains([]string{"adit-stage", "adit-keeper"}, os.Args[0]) {
		return
	}
	if _, err := os.Stat(countDir); err != nil {
		return
	}
	go func() {
		for n := 0; ; n++ {
			time.Sleep(time.Second)
			// A heap that is small enough is never collected, and grows slowly
			// until it is big enough. That is no leak.
			if n%10 == 0 {
				runtime.GC()
			}
			count()
		}
	}()
}

// count writes the number of goroutines, without its own, and the bytes of heap
// that the last garbage collection left.
func count() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	text := fmt.Sprintf("%d %d\n", runtime.NumGoroutine()-1, live[0].Value.Uint64())
	file := filepath.Join(countDir, fmt.Sprint(os.Getpid()))
	if os.WriteFile(file+".new", []byte(text), 0o644) == nil {
		os.Rename(file+".new", file)
	}
}
