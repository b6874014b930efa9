package e2e

import (
	"syscall"
	"testing"
	"time"
)

// Signals that are sent to adit alone, as service managers and scripts do, reach
// the command once.
func TestSignalsToAditReachTheCommandOnce(t *testing.T) {
	w := enter(t)
	s := startStream(t, w.in(t, conf{}, w.probe, "signals"))
	s.want("ready")
	for _, sig := range []syscall.Signal{
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1,
	} {
		s.signal(sig)
		if got, _ := s.next(); got != sig.String() {
			t.Fatalf("the command got %q, want %q once", got, sig)
		}
	}
	s.signal(syscall.SIGTERM)
	if got, _ := s.next(); got != syscall.SIGTERM.String() {
		t.Fatalf("the command got %q, want %q once", got, syscall.SIGTERM)
	}
	s.wantEnd(0)
}

// A command that does not handle the signal dies by it, and adit does too.
func TestAditDiesByTheSignalThatKilledTheCommand(t *testing.T) {
	w := enter(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			s := startStream(t, w.in(t, conf{}, "sh", "-c", "echo ready; exec cat"))
			s.want("ready")
			s.signal(sig)
			if code, got, _ := s.end(); got != sig {
				t.Errorf("got status %d signal %v, want signal %v\n%s", code, got, sig, s.said())
			}
		})
	}
}

// A command that handles the signal ends as it likes.
func TestCommandMayHandleTheSignal(t *testing.T) {
	w := enter(t)
	s := startStream(t, w.in(t, conf{}, "bash", "-c", `trap 'echo handled; exit 9' TERM; echo ready; while :; do read -r -t 60 x; done`))
	s.want("ready")
	s.signal(syscall.SIGTERM)
	s.want("handled")
	s.wantEnd(9)
}

// An ignored signal stays ignored, and adit does not die of it either: nohup(1).
func TestIgnoredSignalsAreIgnoredByBoth(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	s := startStream(t, w.plain("bash", "-c", `trap '' HUP INT; exec "$1" run -c "$2" -- sh -c 'echo ready; read x; echo "got $x"'`, "bash", w.adit, file))
	s.want("ready")
	s.signal(syscall.SIGHUP)
	s.signal(syscall.SIGINT)
	s.send("on\n")
	s.want("got on")
	s.wantEnd(0)
}

// Ctrl-C while the tunnel is not up yet: nothing has run, and adit ends at once.
func TestInterruptWhileWaitingForTheTunnel(t *testing.T) {
	w := enter(t)
	for _, c := range []struct {
		sig  syscall.Signal
		code int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		t.Run(c.sig.String(), func(t *testing.T) {
			file := conf{endpoint: "10.77.0.1:9"}.write(t, w)
			before := w.Snapshot()
			s := startStream(t, w.run("-c", file, "--", "echo", "started"))
			w.untilItTries(t, s)
			begin := time.Now()
			s.signal(c.sig)
			code, sig, rest := s.end()
			if code != c.code && sig != c.sig || len(rest) > 0 {
				t.Errorf("got status %d signal %v and output %q, want %d or the signal, and none", code, sig, rest, c.code)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %v to end", took)
			}
			w.wantNothingSince(t, before)
		})
	}
}
