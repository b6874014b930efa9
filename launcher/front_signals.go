package launcher

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// catchSignals makes every signal that has a meaning for the command come to
// the returned channel instead of ending or stopping this process. Signals that
// the caller had ignored stay ignored. The handlers end with execve, so nothing
// of this reaches the command.
//
// SIGCHLD is among them, ignored or not: it tells of the engine's end.
func (f *front) catchSignals() <-chan os.Signal {
	// Room for a burst of each kind: Notify does not wait.
	c := make(chan os.Signal, 64)
	ignored := ignoredSignals()
	for sig := syscall.Signal(1); sig < 32; sig++ {
		switch sig {
		case unix.SIGKILL, unix.SIGSTOP, // cannot be caught
			unix.SIGURG,                                                       // Go's own preemption
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, // our own faults
			unix.SIGPROF, unix.SIGWINCH, unix.SIGPIPE, unix.SIGTTOU:
			continue
		}
		if ignored&(1<<sig) == 0 || sig == unix.SIGCHLD {
			signal.Notify(c, sig)
		}
	}
	return c
}

// passSignals gives to the command what was meant for it. What the terminal
// sends goes to the whole foreground process group, the command's too, so it is
// not sent twice. It runs until the process ends.
func (f *front) passSignals(c <-chan os.Signal) {
	for s := range c {
		sig := s.(syscall.Signal)
		switch sig {
		case unix.SIGCHLD:
			f.lookAfterEngine()
			continue
		case unix.SIGINT, unix.SIGQUIT:
			if inForeground() {
				// The command may run although we have not heard of it yet.
				f.order(order{Signal: sig, Starting: true})
				continue
			}
		case unix.SIGTSTP, unix.SIGTTIN:
			// If it stops the command, the engine says so and we follow.
			if inForeground() || sig == unix.SIGTTIN {
				continue
			}
		}
		f.order(order{Signal: sig})
	}
}

// stopLike stops this process because the command, pid, has been stopped: the
// shell is to see of us what it would see of the command. Whoever continues us
// continues the command, by passSignals; and the engine continues us should
// the command alone have been continued.
func (f *front) stopLike(pid int) {
	if _, state, _, ok := procStat(pid); ok && state == 'T' {
		// If the command goes on before we have stopped, the engine sees to it
		// that we do too.
		f.order(order{Stopping: true})
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
}

// inForeground reports whether this process is in the foreground process group
// of its controlling terminal, and so gets the terminal's signals.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// engineLost ends the command, if started, after the engine has died without a
// word. The command has no network any more: its device went with the engine. As
// the subreaper we are its parent now.
func (f *front) engineLost(started bool) (Result, error) {
	how := f.reapEngine()
	timeout := f.o.StopTimeout
	if timeout == 0 {
		timeout = DefaultStopTimeout
	}
	endStrangers(timeout)
	return Result{}, errEngineLost(started, how)
}
