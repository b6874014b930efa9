package hostile

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Outliving adit, or ending it. Each has a run of its own.
var lifeAttempts = category("life", tunnel(unix.EPERM, unix.ENETDOWN, unix.ENXIO, unix.EIO, unix.ENODEV),
	&Attempt{Name: "daemon", Does: "a process in a session of its own that goes on when the command has ended", Alone: true, try: tryDaemon},
	&Attempt{Name: "kill-engine", Does: "kill adit's engine, then send", Alone: true, try: tryEnd(unix.SIGKILL, 0)},
	&Attempt{Name: "stop-engine", Does: "stop it, then send, then let it go on", Alone: true, try: tryEnd(unix.SIGSTOP, 0)},
	&Attempt{Name: "kill-front", Does: "kill the process that the user started, then send", Alone: true, try: tryEnd(unix.SIGKILL, 1)},
	&Attempt{Name: "kill-keeper", Does: "kill the keeper of the masks, then send and ask", Alone: true, try: tryEndKeeper(unix.SIGKILL)},
	&Attempt{Name: "stop-keeper", Does: "stop it, then send and ask", Alone: true, try: tryEndKeeper(unix.SIGSTOP)},
)

// tryEnd sends a signal to one of the processes above, then canaries for a
// while.
func tryEnd(sig unix.Signal, generation int) func(*World) Result {
	return func(w *World) Result {
		// Where the command is root's, the stage may not have ended yet.
		i := slices.IndexFunc(w.Above, func(pid int) bool {
			comm, _ := readable(fmt.Sprintf("/proc/%d/comm", pid))
			return comm == "adit-engine"
		})
		if i < 0 || len(w.Above) <= i+generation {
			return missing("adit")
		}
		sendHere(w) // it has begun, and the engine has time to notice
		unix.Poll(nil, int(moment.Milliseconds()))
		pid := w.Above[i+generation]
		if err := unix.Kill(pid, sig); err != nil {
			return no("kill", err)
		}
		r := keepSending(w, 4)
		if sig == unix.SIGSTOP {
			unix.Kill(pid, unix.SIGCONT)
		}
		return r
	}
}

// keepSending sends n times with a moment between.
func keepSending(w *World, n int) Result {
	r := Result{}
	for range n {
		r = sendHere(w)
		streams(w, false, 0, w.targets(false), nil)
		if w.Nameserver.IsValid() {
			ask(w, w.Nameserver)
		}
		unix.Poll(nil, int(moment.Milliseconds()))
	}
	return r
}

func tryEndKeeper(sig unix.Signal) func(*World) Result {
	return func(w *World) Result {
		r := missing("the keeper")
		list := keepers(w)
		for i := 0; i < 30 && len(list) == 0; i++ { // it has not named itself yet
			unix.Poll(nil, 100)
			list = keepers(w)
		}
		for _, pid := range list {
			if r = orSent("kill", unix.Kill(pid, sig)); r.State == StateSent {
				defer unix.Kill(pid, unix.SIGCONT)
			}
		}
		if r.State != StateSent {
			return r
		}
		if uncovered(w, "") {
			return got("the host's resolvers")
		}
		return keepSending(w, 1)
	}
}

func orSent(step string, err error) Result {
	if err != nil {
		return no(step, err)
	}
	return sent()
}

// tryDaemon starts itself again and ends: what it started sends when adit is
// gone.
func tryDaemon(w *World) Result {
	if w.Sent > 0 {
		unix.Setsid()
		// Until adit is gone: the device is then dead. An orphan may tell by its
		// parent.
		for range 20 {
			sendHere(w)
			unix.Poll(nil, 100)
		}
		return sent()
	}
	w.Sent++
	if err := startAgain(w); err != nil {
		return no("fork", err)
	}
	sendHere(w)
	return sent()
}

// mountsOf returns where file systems of a type are mounted (proc(5)).
func mountsOf(kind string) (dirs []string) {
	b, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == kind {
			dirs = append(dirs, f[1])
		}
	}
	return dirs
}
