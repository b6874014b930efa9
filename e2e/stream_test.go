package e2e

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
)

// A stream is a running command with which the test talks line by line.
type stream struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // standard output, from one goroutine, closed at its end
	ended bool

	mu     sync.Mutex // guards stderr
	stderr bytes.Buffer
}

// startStream starts cmd in a process group of its own, and ends it with the
// test.
func startStream(t *testing.T, cmd *exec.Cmd) *stream {
	t.Helper()
	s := &stream{t: t, cmd: cmd, lines: make(chan string, 1024)}
	var err error
	if s.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = writerFunc(func(b []byte) (int, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.stderr.Write(b)
	})
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr.Setpgid = true
	if err := lab.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if line != "" {
				s.lines <- strings.TrimSuffix(line, "\n")
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(s.kill)
	return s
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// kill ends the command, if the test has not.
func (s *stream) kill() {
	if s.ended {
		return
	}
	s.ended = true
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	for range s.lines {
	}
	s.cmd.Wait()
}

// next returns the next line; false at the end of the output.
func (s *stream) next() (string, bool) {
	s.t.Helper()
	select {
	case l, ok := <-s.lines:
		return l, ok
	case <-time.After(deadline):
		s.t.Fatalf("%v said nothing for %v\nstderr: %s", s.cmd.Args, deadline, s.said())
		return "", false
	}
}

// want reads lines until one is want.
func (s *stream) want(want string) {
	s.t.Helper()
	s.until(want, func(l string) bool { return l == want })
}

// until reads lines up to the first that is good and returns it.
func (s *stream) until(what string, good func(string) bool) string {
	s.t.Helper()
	var seen []string
	for {
		l, ok := s.next()
		if !ok {
			s.t.Fatalf("%v ended before it said %q; it said %q\nstderr: %s", s.cmd.Args, what, seen, s.said())
		}
		if good(l) {
			return l
		}
		if len(seen) < 20 {
			seen = append(seen, l)
		}
	}
}

// send writes to the command's standard input.
func (s *stream) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, text); err != nil {
		s.t.Fatalf("%v: write to its standard input: %v", s.cmd.Args, err)
	}
}

// signal sends a signal to the process that was started, and to nobody else.
func (s *stream) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("%v: send %v: %v", s.cmd.Args, sig, err)
	}
}

// said returns standard error so far.
func (s *stream) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// end waits until the command has ended, and returns how, and the lines that
// were not read yet.
func (s *stream) end() (code int, sig syscall.Signal, rest []string) {
	s.t.Helper()
	for timeout, open := time.After(30*time.Second), true; open; {
		select {
		case l, ok := <-s.lines:
			if open = ok; ok {
				rest = append(rest, l)
			}
		case <-timeout:
			s.t.Fatalf("%v does not end; processes: %v\nstderr: %s", s.cmd.Args, lab.Descendants(os.Getpid()), s.said())
		}
	}
	s.ended = true
	code, sig = wait(s.t, s.cmd)
	return code, sig, rest
}

// wantEnd waits until the command has ended, and wants that status.
func (s *stream) wantEnd(want int) {
	s.t.Helper()
	if code, sig, _ := s.end(); code != want {
		s.t.Errorf("%v: got status %d (signal %v), want %d\nstderr: %s", s.cmd.Args, code, sig, want, s.said())
	}
}
