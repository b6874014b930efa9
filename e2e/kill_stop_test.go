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
// gone on, or even ended.
func TestFrontGoesOnThoughItStopsTooLate(t *testing.T) {
	for name, then := range map[string]string{"goes on": "exec sleep 0.3", "has ended": "exec true"} {
		t.Run("the command "+name, func(t *testing.T) { frontStopsTooLate(t, then) })
	}
}

// frontStopsTooLate continues a command, which then does what a shell is told,
// when the front is about to stop.
func frontStopsTooLate(t *testing.T, then string) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	cmd := w.plain(w.probe, "hold", w.adit, "run", "-c", file, "--", "sh", "-c", "kill -STOP $$; "+then)
	came := false
	k, over := heldApart(t, cmd, func(k *killing, s step) <-chan struct{} {
		if s.part != front || s.nr != unix.SYS_KILL || came {
			return nil
		}
		came = true
		now := parts(k.pid())
		syscall.Kill(now[command], syscall.SIGCONT)
		// What the engine does about that it does at once. If the command has
		// ended, it must not end before the front goes on.
		late := make(chan struct{})
		go func() {
			defer close(late)
			settle(200*time.Millisecond, func() bool { _, lives := lab.ReadProcess(now[engine]); return !lives })
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
