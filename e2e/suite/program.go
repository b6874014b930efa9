package suite

import (
	"bufio"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
)

// Deadline is how long a program may take for a thing that takes no time.
const Deadline = 60 * time.Second

// A Program is one that runs on a machine of the lab. Its methods are for the
// goroutine of the test.
type Program struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // standard output, from one goroutine, closed at its end
	ended chan error  // what Wait returned, once

	mu     sync.Mutex // guards stderr
	stderr strings.Builder
	heard  chan struct{} // one element: stderr has grown
}

// Start starts argv on a machine as u, in a process group of its own, and ends
// that with the test.
func Start(t testing.TB, on *lab.Namespace, u lab.User, argv ...string) *Program {
	t.Helper()
	p := &Program{t: t, cmd: u.Command(argv[0], argv[1:]...), lines: make(chan string, 1024),
		ended: make(chan error, 1), heard: make(chan struct{}, 1)}
	p.cmd.SysProcAttr.Setpgid = true
	p.cmd.WaitDelay = 5 * time.Second // descendants may hold the pipes
	p.cmd.Stderr = (*standardError)(p)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := on.Do(func() error { return lab.Start(p.cmd) }); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	go p.read(out)
	t.Cleanup(p.Kill)
	return p
}

// PID returns the process's id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// EndInput closes the program's standard input.
func (p *Program) EndInput() { p.in.Close() }

// read passes the lines on and takes the end.
func (p *Program) read(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		p.lines <- s.Text()
	}
	close(p.lines)
	p.ended <- p.cmd.Wait()
}

// standardError keeps what the program says there.
type standardError Program

func (e *standardError) Write(b []byte) (int, error) {
	e.mu.Lock()
	e.stderr.Write(b)
	e.mu.Unlock()
	select {
	case e.heard <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Said returns standard error so far.
func (p *Program) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// WaitSaid waits until standard error holds what.
func (p *Program) WaitSaid(what string) {
	p.t.Helper()
	for late := time.After(Deadline); !strings.Contains(p.Said(), what); {
		select {
		case <-p.heard:
		case err := <-p.ended:
			p.ended <- err
			p.t.Fatalf("%v ended (%v) before it said %q: %s", p.cmd.Args, err, what, p.Said())
		case <-late:
			p.t.Fatalf("%v did not say %q within %v: %s", p.cmd.Args, what, Deadline, p.Said())
		}
	}
}

// Line returns the next line of standard output.
func (p *Program) Line(within time.Duration) string {
	p.t.Helper()
	select {
	case l, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%v ended early: %s", p.cmd.Args, p.Said())
		}
		return l
	case <-time.After(within):
		p.t.Fatalf("%v said nothing for %v: %s", p.cmd.Args, within, p.Said())
		return ""
	}
}

// Lines returns standard output, line by line. It is closed at the end.
func (p *Program) Lines() <-chan string { return p.lines }

// End waits for the end of the program and returns how it ended.
func (p *Program) End(within time.Duration) (code int, sig syscall.Signal) {
	p.t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		return exitOf(err)
	case <-time.After(within):
		p.t.Fatalf("%v has not ended within %v: %s", p.cmd.Args, within, p.Said())
		return 0, 0
	}
}

// WantEnd waits for the end of the program and wants success.
func (p *Program) WantEnd(within time.Duration) {
	p.t.Helper()
	if code, sig := p.End(within); code != 0 {
		p.t.Errorf("%v: status %d (signal %v), want 0: %s", p.cmd.Args, code, sig, p.Said())
	}
}

// Kill ends the program and its group, if it has not ended.
func (p *Program) Kill() {
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

// exitOf returns the status of a command that has ended.
func exitOf(err error) (code int, sig syscall.Signal) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, 0
	}
	if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
		return -1, ws.Signal()
	}
	return exit.ExitCode(), 0
}
