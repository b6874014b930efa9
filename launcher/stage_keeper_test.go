package launcher

import (
	"os"
	"os/exec"
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

// Where a process cannot be held by a descriptor it is not taken for one that
// has ended: the keeper would, and the engine would end the command for it.
func TestKeeperStaysWithAnEngineThatItCannotHold(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	looked, ended := make(chan struct{}, 1), make(chan struct{})
	k := keeper{mask: func() error {
		select {
		case looked <- struct{}{}:
		default:
		}
		return nil
	}}
	engine := process{fd: -1, pid: cmd.Process.Pid}
	go func() {
		defer close(ended)
		k.run(engine)
	}()
	for range 3 {
		select {
		case <-looked:
		case <-ended:
			t.Fatal("the keeper has ended before the engine")
		}
	}
	in.Close()
	cmd.Wait()
	<-ended
	engine.wait()
	if gone := openProcess(cmd.Process.Pid); !gone.isGone() {
		t.Errorf("a process that has ended is held: %+v", gone)
	}
}
