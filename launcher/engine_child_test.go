package launcher

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// exited makes the wait status of a process that exited with code (wait(2)).
func exited(code int) unix.WaitStatus { return unix.WaitStatus(code << 8) }

func TestEndBeforeStartIsHeardIsNotLost(t *testing.T) {
	c := newChild(func(report) {})
	c.takeOver(20)
	c.changed(10, exited(0)) // the stage
	c.changed(20, exited(7)) // the command, faster than our ears
	c.started()
	if end := c.wait(); end.Code != 7 || end.PID != 20 {
		t.Errorf("got %+v, want status 7 of process 20", end)
	}
}

func TestOrphansAreNotTheCommand(t *testing.T) {
	var said []report
	c := newChild(func(r report) { said = append(said, r) })
	c.takeOver(20)
	c.started()
	c.changed(30, exited(3))
	c.changed(30, unix.WaitStatus(0x7f|int(unix.SIGSTOP)<<8))
	got := make(chan report, 1)
	go func() { got <- c.wait() }()
	c.changed(20, unix.WaitStatus(unix.SIGKILL))
	select {
	case end := <-got:
		if end.Code != 137 || end.Signal != unix.SIGKILL {
			t.Errorf("got %+v, want 137 by KILL", end)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the command's end was not seen")
	}
	if len(said) != 0 {
		t.Errorf("an orphan's change of state was reported: %+v", said)
	}
}

func TestStopAndContinueOfTheCommandAreReported(t *testing.T) {
	var said []report
	c := newChild(func(r report) { said = append(said, r) })
	c.takeOver(20)
	c.changed(20, unix.WaitStatus(0x7f|int(unix.SIGTSTP)<<8)) // not the command yet
	c.started()
	c.changed(20, unix.WaitStatus(0x7f|int(unix.SIGTSTP)<<8))
	if len(said) != 1 || said[0].Event != eventStopped || said[0].Signal != unix.SIGTSTP {
		t.Errorf("got %+v, want one stop by TSTP", said)
	}
}

// What a command leaves running is its own; only a command that adit itself has
// to end is ended with all that belongs to it.
func TestDaemonsOfACommandThatEndedAreLeftAlone(t *testing.T) {
	c := newChild(func(report) {})
	c.takeOver(20)
	if c.hasEnded() {
		t.Error("a command that has not begun has ended")
	}
	c.started()
	if c.hasEnded() {
		t.Error("a running command has ended")
	}
	c.changed(20, exited(0))
	if !c.hasEnded() {
		t.Error("the end was not noticed")
	}
}

// A command can say that it is ready, and be sent a signal for it, before we
// have heard that it began.
func TestSignalBeforeStartIsHeardIsNotLost(t *testing.T) {
	victim, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { victim.Kill() })
	c := newChild(func(report) {})
	c.takeOver(victim.Pid)
	if c.signal(unix.SIGUSR1) {
		t.Error("the command runs before it was said to")
	}
	c.started()
	state, err := victim.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if ws := state.Sys().(syscall.WaitStatus); ws.Signal() != unix.SIGUSR1 {
		t.Errorf("it ended by %v, want SIGUSR1", ws.Signal())
	}
}
