package launcher

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nothing tells of a mount that failed for want of memory: it is tried again.
func TestKeeperTriesAgainWhatItCouldNotMask(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tries := 0
	k := keeper{mask: func() error {
		if tries++; tries < 3 {
			return unix.ENOMEM
		}
		return w.Close() // the engine ends
	}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.run(process{fd: int(r.Fd())})
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("a failed mask is not tried again")
	}
	if tries != 3 {
		t.Errorf("got %d tries, want 3", tries)
	}
}

// Linux tells of the slice since 6.12, with commit 857b158dc5e8 (sched/eevdf: Use
// sched_attr::sched_runtime to set request/slice suggestion).
func TestKeeperAsksForShortSlices(t *testing.T) {
	before, after := make(chan *unix.SchedAttr, 1), make(chan *unix.SchedAttr, 1)
	go func() { // its thread ends with it
		defer close(after)
		runtime.LockOSThread()
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19); err != nil {
			t.Error(err)
			return
		}
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		before <- attr
		wakeSoon()
		if attr, err = unix.SchedGetAttr(0, 0); err != nil {
			t.Error(err)
			return
		}
		after <- attr
	}()
	got := <-after
	if got == nil {
		return
	}
	was := <-before
	if was.Runtime == 0 {
		t.Skip("this kernel knows no slices of a process's own")
	}
	if got.Runtime != uint64(keeperSlice) {
		t.Errorf("got a slice of %v ns, want %v", got.Runtime, keeperSlice)
	}
	if got.Nice != was.Nice || was.Nice != 19 {
		t.Errorf("niceness %d became %d", was.Nice, got.Nice)
	}
}
