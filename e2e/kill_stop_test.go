package e2e

import (
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"

	"golang.org/x/sys/unix"
)

// The command stops itself, and is continued when the front is about to stop as
// it has: the front must not stay stopped, though it stops after the command has
// gone on.
func TestFrontGoesOnThoughItStopsTooLate(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	cmd := w.plain(w.probe, "hold", w.adit, "run", "-c", file, "--", "sh", "-c", "kill -STOP $$; exec sleep 0.3")
	came := false
	k, over := heldApart(t, cmd, func(k *killing, s step) <-chan struct{} {
		if s.part != front || s.nr != unix.SYS_KILL || came {
			return nil
		}
		came = true
		pid := parts(k.pid())[command]
		syscall.Kill(pid, syscall.SIGCONT)
		// What the engine does about that it does at once.
		late := make(chan struct{})
		go func() {
			defer close(late)
			settle(100*time.Millisecond, func() bool { _, lives := lab.ReadProcess(pid); return !lives })
		}()
		return late
	})
	if !k.within(deadline / 3) {
		t.Errorf("it does not end: %v", k.left())
		k.clear()
	}
	<-over
	if o := k.outcome(); !came || o != "0" {
		t.Errorf("the front stopped: %v; got %q, want 0", came, o)
	}
	w.wantNothingSince(t, before)
}
