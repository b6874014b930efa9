package launcher

import (
	"os"
	"testing"
)

func TestThreadsAreKept(t *testing.T) {
	count := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	want := count() + 8
	keepThreads(want)
	if got := count(); got < want {
		t.Errorf("got %d threads, want %d", got, want)
	}
}
