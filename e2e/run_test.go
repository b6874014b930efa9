package e2e

import (
	"bytes"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
)

// deadline is how long any one command may take: more than it ever needs on a
// busy machine.
const deadline = 90 * time.Second

// A result is what a command left.
type result struct {
	stdout, stderr string
	code           int            // -1 if a signal ended it
	signal         syscall.Signal // 0 if none did
	took           time.Duration
}

// plain returns a command of the user's without adit.
func (w *world) plain(argv ...string) *exec.Cmd { return w.User.Command(argv[0], argv[1:]...) }

// run returns "adit run OPTIONS -- ARGV" of the user's. options and argv are
// separated by "--" in args.
func (w *world) run(args ...string) *exec.Cmd {
	return w.User.Command(w.adit, append([]string{"run"}, args...)...)
}

// in returns argv run by adit with a configuration.
func (w *world) in(t *testing.T, c conf, argv ...string) *exec.Cmd {
	t.Helper()
	return w.run(append([]string{"-c", c.write(t, w), "--"}, argv...)...)
}

// do runs cmd to its end. A command that takes too long is killed, and the test
// with it.
func do(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	begin := time.Now()
	if err := lab.Start(cmd); err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	code, sig := wait(t, cmd)
	return result{stdout.String(), stderr.String(), code, sig, time.Since(begin)}
}

// wait waits for a started command.
func wait(t *testing.T, cmd *exec.Cmd) (code int, sig syscall.Signal) {
	t.Helper()
	cmd.WaitDelay = 5 * time.Second // descendants may hold the pipes
	timer := time.AfterFunc(deadline, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%v took more than %v", cmd.Args, deadline)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%v: %v", cmd.Args, err)
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return -1, ws.Signal()
	}
	return cmd.ProcessState.ExitCode(), 0
}

// wantOK runs cmd and fails unless it succeeded in silence on standard error.
// It returns standard output.
func wantOK(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	r := do(t, cmd)
	if r.code != 0 {
		t.Fatalf("%v: status %d (signal %v), want 0\nstdout: %s\nstderr: %s", cmd.Args, r.code, r.signal, r.stdout, r.stderr)
	}
	if r.stderr != "" {
		t.Errorf("%v: not silent, stderr: %s", cmd.Args, r.stderr)
	}
	return r.stdout
}

// wantStdout runs cmd, and wants success and exactly that output.
func wantStdout(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	if got := wantOK(t, cmd); got != want {
		t.Errorf("%v: got stdout %q, want %q", cmd.Args, got, want)
	}
}

// watch lets the oracle judge all packets of the host until the test is over:
// only the tunnel may be seen.
func (w *world) watch(t *testing.T, opts ...oracle.Option) {
	t.Helper()
	w.hostDNS.Forget()
	o, err := oracle.Watch(endpoints, opts...)
	if err != nil {
		t.Fatalf("watch the host: %v", err)
	}
	t.Cleanup(func() {
		r, err := o.Stop()
		if err != nil {
			t.Errorf("the leak oracle: %v", err)
		}
		if len(r.Leaks) > 0 {
			t.Errorf("packets of the host that are not the tunnel's:\n%v", r)
		}
		if r.Tunnel == 0 {
			t.Error("the leak oracle has seen no packet of the tunnel")
		}
		if asked := w.hostDNS.Asked(); len(asked) > 0 && len(opts) == 0 {
			t.Errorf("the host's nameserver was asked for %q, want nothing", asked)
		}
	})
}
