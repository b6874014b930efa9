package launcher

import (
	"os"
	"testing"
)

func TestThreadsAreKept(t *testing.T) {
	const n = 24
	keepThreads(n)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("/proc is not there:", err)
	}
	if len(tasks) < n {
		t.Errorf("got %d threads, want %d", len(tasks), n)
	}
}
