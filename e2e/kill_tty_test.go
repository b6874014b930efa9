package e2e

import (
	"fmt"
	"regexp"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
)

// aditOf returns the front that runs below an interactive shell.
func aditOf(t *testing.T, shell int) int {
	t.Helper()
	front := 0
	if !settle(deadline/3, func() bool {
		for _, p := range lab.Descendants(shell) {
			if p.Parent == shell && argv0(p.PID) == "adit" {
				front = p.PID
			}
		}
		return front != 0
	}) {
		t.Fatal("the shell runs no adit")
	}
	return front
}

// Whoever is killed, the shell has its terminal back: its modes, its foreground,
// a prompt, and no job that stays stopped.
func TestTerminalIsTheShellsAgainWhateverIsKilled(t *testing.T) {
	w := enter(t)
	for _, c := range []struct {
		part   string
		sig    syscall.Signal
		status string
	}{
		{front, syscall.SIGKILL, "137"}, {engine, syscall.SIGKILL, "125"}, {keeper, syscall.SIGKILL, "143"}, {command, syscall.SIGKILL, "137"},
		{front, syscall.SIGTERM, "143"}, {front, syscall.SIGHUP, "129"}, {command, syscall.SIGTERM, "143"},
	} {
		t.Run(fmt.Sprint(c.sig, " ", c.part), func(t *testing.T) {
			w.watch(t)
			term := w.shell(t)
			term.typed("stty -g >$HOME/before; $ADIT run --stop-timeout 1s -c $CONF -- sh -c 'echo STARTED; exec cat'\n")
			term.want("STARTED")
			found := parts(aditOf(t, term.cmd.Process.Pid))
			if err := syscall.Kill(found[c.part], c.sig); err != nil {
				t.Fatalf("kill %s (%d): %v", c.part, found[c.part], err)
			}
			term.want("ready> ")
			// A command that was reading when the front was killed reads on until
			// it is ended, a moment later.
			settle(deadline/3, func() bool { p, lives := lab.ReadProcess(found[command]); return !lives || p.State == 'Z' })
			term.typed("echo STATUS $?; jobs; stty -g | cmp - $HOME/before && echo SAME\n")
			term.want("STATUS " + c.status + `\r\nSAME`)
			term.want("ready> ")
			term.typed("echo ALI''VE\n")
			term.want("ALIVE")
			term.typed("exit\n")
			term.wantOver()
			w.wantNobody(t)
		})
	}
}

// Ctrl-Z before the command has started stops adit as a whole; fg goes on where
// it was, and Ctrl-C ends it.
func TestStopWhileWaitingForTheTunnel(t *testing.T) {
	w := enter(t)
	dead := w.file(t, "dead.conf", conf{endpoint: "10.77.0.1:9"}.text(w), 0o600)
	term := w.shell(t)
	term.typed("$ADIT run --wait-timeout 1m -c " + dead + " -- echo BEGUN\n")
	term.want("waiting for a handshake")
	term.typed("\x1a")
	term.want("Stopped")
	term.want("ready> ")
	term.typed("fg\n")
	term.want("run --wait-timeout")
	if !settle(deadline/3, func() bool { // all of it goes on
		found := parts(aditOf(t, term.cmd.Process.Pid))
		p, _ := lab.ReadProcess(found[stage])
		return found[stage] != 0 && p.State != 'T'
	}) {
		t.Error("the stage stays stopped")
	}
	term.typed("\x03")
	term.want("ready> ")
	term.typed("echo STATUS $?; jobs\n")
	term.want(`STATUS 130\r\nready> `)
}

// The tunnel comes up while all is stopped: the command starts with fg.
func TestCommandThatIsStoppedBeforeItStartsStartsLater(t *testing.T) {
	w := enter(t)
	w.killPeer(t)
	term := w.shell(t)
	term.typed("$ADIT run --wait-timeout 1m -c $CONF -- echo BEGUN\n")
	term.want("waiting for a handshake")
	term.typed("\x1a")
	term.want("Stopped")
	term.want("ready> ")
	w.restartPeer(t)
	if !settle(deadline/3, func() bool { return w.shaken() }) {
		t.Fatal("the tunnel does not come up")
	}
	term.typed("fg\n")
	begin := time.Now()
	term.want("BEGUN")
	term.want("ready> ")
	if took := time.Since(begin); took > deadline/3 {
		t.Errorf("it took %v to start", took)
	}
}

// handshakeTime is a line of the cross-platform interface.
var handshakeTime = regexp.MustCompile(`(?m)^last_handshake_time_sec=[1-9]`)

// shaken reports whether the peer has had a handshake with anybody.
func (w *world) shaken() bool {
	state, err := w.peer.Get()
	return err == nil && handshakeTime.MatchString(state)
}
