package hostile

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Outliving adit, or ending it. Each has a run of its own.
var lifeAttempts = category("life",
	usual(tunnel(unix.EPERM, unix.ENETDOWN, unix.ENXIO, unix.EIO, unix.ENODEV),
		tunnel(unix.ENOSYS, unix.EPERM, unix.ENETDOWN, unix.EIO, unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN), refused(unix.EACCES)),
	&Attempt{Name: "daemon", Does: "a process in a session of its own that goes on when the command has ended", Alone: true, Expect: Modes{Preload: own()}, try: tryDaemon},
	&Attempt{Name: "kill-engine", Does: "kill adit's engine, then send", Alone: true, try: tryEnd(unix.SIGKILL, 0)},
	&Attempt{Name: "kill-engine-holding", Does: "kill it, then send by sockets that were made before", Alone: true, try: tryEndHolding(unix.SIGKILL)},
	&Attempt{Name: "stop-engine", Does: "stop it, then send, then let it go on", Alone: true, try: tryEnd(unix.SIGSTOP, 0)},
	&Attempt{Name: "stop-engine-holding", Does: "the same by sockets that were made before", Alone: true, try: tryEndHolding(unix.SIGSTOP)},
	&Attempt{Name: "kill-front", Does: "kill the process that the user started, then send", Alone: true, try: tryEnd(unix.SIGKILL, 1)},
	&Attempt{Name: "kill-keeper", Does: "kill the keeper of the masks, then send and ask", Alone: true, Expect: noKeeper, try: tryEndKeeper(unix.SIGKILL)},
	&Attempt{Name: "stop-keeper", Does: "stop it, then send and ask", Alone: true, Expect: noKeeper, try: tryEndKeeper(unix.SIGSTOP)},
)

// noKeeper is where there are no masks, and nobody who keeps them.
var noKeeper = Modes{}.both(nothing())

// tryEnd sends a signal to one of the processes above, then canaries for a
// while.
func tryEnd(sig unix.Signal, generation int) func(*World) Result {
	return func(w *World) Result {
		sendHere(w) // it has begun, and the engine has time to notice
		goOn, r := end(w, sig, generation)
		if r.State != "" {
			return r
		}
		defer goOn()
		return keepSending(w, 4)
	}
}

// end sends the signal. A process that was stopped goes on after a while, or when
// goOn is called: until then a call that it serves may wait for it.
func end(w *World, sig unix.Signal, generation int) (goOn func(), r Result) {
	i := engineAbove(w) // where the command is root's, the stage may not have ended yet
	if i < 0 || len(w.Above) <= i+generation {
		return nil, missing("adit")
	}
	unix.Poll(nil, int(moment.Milliseconds()))
	pid := w.Above[i+generation]
	if err := unix.Kill(pid, sig); err != nil {
		return nil, no("kill", err)
	}
	goOn = func() {}
	if sig == unix.SIGSTOP {
		goOn = func() { unix.Kill(pid, unix.SIGCONT) }
		time.AfterFunc(8*moment, goOn)
	}
	return goOn, Result{}
}

// tryEndHolding has a socket of each kind before adit is gone, one of them
// connected, and uses them afterwards.
func tryEndHolding(sig unix.Signal) func(*World) Result {
	return func(w *World) Result {
		target := w.targets(false)[0]
		var fds []int
		for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_DGRAM, unix.SOCK_STREAM, unix.SOCK_STREAM} {
			fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return no("socket", err)
			}
			fds = append(fds, fd)
		}
		unix.Connect(fds[0], to(target, false))
		unix.Write(fds[0], []byte(w.canary()))
		unix.Connect(fds[2], to(target, false))
		ready(fds[2], unix.POLLOUT)
		goOn, r := end(w, sig, 0)
		if r.State != "" {
			return r
		}
		defer goOn()
		for range 4 {
			unix.Write(fds[0], []byte(w.canary()))
			unix.Write(fds[2], []byte(w.canary()))
			sendTo(w, fds[1], false, w.targets(false))
			unix.Sendmsg(fds[1], []byte(w.canary()), unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(w.Link)}), to(target, false), 0)
			unix.Sendto(fds[3], []byte(w.canary()), unix.MSG_FASTOPEN, to(w.loopback(false), false))
			connectAndSay(w, fds[3], to(target, false))
			unspec(fds[1], 16)
			unix.Poll(nil, int(moment.Milliseconds()))
		}
		return sendTo(w, fds[1], false, w.targets(false))
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
