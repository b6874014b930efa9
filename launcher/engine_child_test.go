package launcher

import (
	"os"
	"reflect"
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
	stop := report{Event: eventStopped, PID: 20, Signal: unix.SIGTSTP}
	for _, start := range []func() int{func() int { return 0 }, c.started} { // Ctrl-Z may come early
		start()
		said = nil
		c.changed(20, unix.WaitStatus(0x7f|int(unix.SIGTSTP)<<8))
		if !reflect.DeepEqual(said, []report{stop}) {
			t.Errorf("got %+v, want %+v", said, stop)
		}
	}
}

// The stage's socket may be held open by another process: its end must be heard
// of all the same.
func TestEndOfTheStageIsHeard(t *testing.T) {
	for _, c := range []struct {
		name string
		lost bool
		f    func(*child)
	}{
		{"killed", true, func(c *child) { c.changed(10, unix.WaitStatus(unix.SIGKILL)) }},
		{"when it has left the command to another", false, func(c *child) { c.changed(10, exited(0)) }},
		{"and then the other's", true, func(c *child) { c.changed(10, exited(0)); c.takeOver(20); c.changed(20, exited(125)) }},
		{"the other's, and then it is told of", true, func(c *child) { c.changed(20, exited(125)); c.takeOver(20) }},
		{"when the command runs", false, func(c *child) { c.started(); c.changed(10, exited(3)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost := false
			child := newChild(func(report) {})
			child.pid, child.lost = 10, func() { lost = true }
			if c.f(child); lost != c.lost {
				t.Errorf("lost: %v, want %v", lost, c.lost)
			}
		})
	}
}

func TestEndOfTheKeeperIsHeardUnlessItIsDue(t *testing.T) {
	unexpected := func(c *child) bool {
		select {
		case <-c.keeping:
			return true
		default:
			return false
		}
	}
	for _, early := range []bool{false, true} {
		c := newChild(func(report) {})
		if early {
			c.changed(30, exited(0))
		}
		c.keep(30)
		if !early {
			c.changed(30, exited(0))
		}
		if !unexpected(c) {
			t.Errorf("before we know its number: %v: its end was not noticed", early)
		}
	}
	c := newChild(func(report) {})
	c.keep(30)
	c.mu.Lock()
	c.retired = true
	c.mu.Unlock()
	c.changed(30, unix.WaitStatus(unix.SIGKILL))
	if unexpected(c) {
		t.Error("its end was taken for an accident when it was due")
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
