package wire

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// deadline is how long a program may take for a thing that takes no time.
const deadline = 60 * time.Second

// A program is one of the user's that runs on a machine.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // standard output, from one goroutine, closed at its end
	ended chan error  // what Wait returned, once

	mu     sync.Mutex // guards stderr
	stderr strings.Builder
	heard  chan struct{} // one element: stderr has grown
}

// start starts argv on a machine, as the user, and ends it with the test.
func (w *world) start(t *testing.T, on *lab.Namespace, argv ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: w.lab.User.Command(argv[0], argv[1:]...), lines: make(chan string, 1024),
		ended: make(chan error, 1), heard: make(chan struct{}, 1)}
	p.cmd.SysProcAttr.Setpgid = true
	p.cmd.WaitDelay = 5 * time.Second // descendants may hold the pipes
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := on.Do(func() error { return lab.Start(p.cmd) }); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	go p.read(out)
	t.Cleanup(p.kill)
	return p
}

// run starts adit run on the client with a configuration.
func (w *world) run(t *testing.T, conf string, argv ...string) *program {
	t.Helper()
	return w.start(t, w.Client, append([]string{suite.Adit(), "run", "--wait-timeout", "60s", "-c", conf, "--"}, argv...)...)
}

// read passes the lines on and takes the end.
func (p *program) read(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		p.lines <- s.Text()
	}
	close(p.lines)
	p.ended <- p.cmd.Wait()
}

// Write keeps what the program says on standard error.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.stderr.Write(b)
	p.mu.Unlock()
	select {
	case p.heard <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// waitSaid waits until standard error holds what.
func (p *program) waitSaid(what string) {
	p.t.Helper()
	for late := time.After(deadline); !strings.Contains(p.said(), what); {
		select {
		case <-p.heard:
		case err := <-p.ended:
			p.ended <- err
			p.t.Fatalf("%v ended (%v) before it said %q: %s", p.cmd.Args, err, what, p.said())
		case <-late:
			p.t.Fatalf("%v did not say %q within %v: %s", p.cmd.Args, what, deadline, p.said())
		}
	}
}

// line returns the next line of standard output.
func (p *program) line(within time.Duration) string {
	p.t.Helper()
	select {
	case l, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%v ended early: %s", p.cmd.Args, p.said())
		}
		return l
	case <-time.After(within):
		p.t.Fatalf("%v said nothing for %v: %s", p.cmd.Args, within, p.said())
		return ""
	}
}

// wantEnd waits for the end of the program and wants success.
func (p *program) wantEnd(within time.Duration) {
	p.t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		if code, sig := exitOf(err); code != 0 {
			p.t.Errorf("%v: status %d (signal %v), want 0: %s", p.cmd.Args, code, sig, p.said())
		}
	case <-time.After(within):
		p.t.Fatalf("%v has not ended within %v: %s", p.cmd.Args, within, p.said())
	}
}

// kill ends the program and its group, if it has not ended.
func (p *program) kill() {
	select {
	case err := <-p.ended:
		p.ended <- err
		return
	default:
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	for range p.lines {
	}
	p.ended <- <-p.ended
}
