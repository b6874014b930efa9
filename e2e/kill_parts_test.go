package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/e2e/hold"
	"adit/e2e/lab"

	"golang.org/x/sys/unix"
)

// The parts of a run, as the tests of killing call them.
const (
	front   = "front"
	engine  = "engine"
	stage   = "stage"
	inner   = "inner" // only where the command is uid 0
	keeper  = "keeper"
	command = "command"
)

// partNames says which part has which argv[0].
var partNames = map[string]string{
	"adit": front, "adit-engine": engine, "adit-stage": stage, "adit-inner": inner, "adit-keeper": keeper,
}

// argv0 returns the last element of a process's or a thread's argv[0]; "" if
// there is none.
func argv0(pid int) string {
	argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	name, _, _ := strings.Cut(string(argv), "\x00")
	return name[strings.LastIndexByte(name, '/')+1:]
}

// partOf returns which part a process or thread is: the command, if none of
// adit's own.
func partOf(pid int) string {
	if part, ok := partNames[argv0(pid)]; ok {
		return part
	}
	return command
}

// parts returns the parts that live in a run. What has been forked and has not
// executed anything yet is still called what its parent is, and is taken for
// what it will be.
func parts(frontPID int) map[string]int {
	found := map[string]int{front: frontPID}
	if _, ok := lab.ReadProcess(frontPID); !ok {
		delete(found, front)
	}
	for _, p := range lab.Descendants(frontPID) {
		part := partOf(p.PID)
		switch {
		case p.State == 'Z':
			continue
		case part == front && p.Parent == frontPID:
			part = engine
		case part == engine && p.Parent == found[engine]:
			part = stage
		case part == command && p.Parent != found[engine]:
			continue // a child of the command
		}
		if _, known := found[part]; !known {
			found[part] = p.PID
		}
	}
	return found
}

// A killing is a run of adit of which parts are killed or stopped.
type killing struct {
	cmd    *exec.Cmd
	stderr *os.File
	ended  chan struct{} // closed when the front has ended
}

// startKilling starts cmd. Its words go to a file in memory, so that nobody who
// holds on to a pipe is waited for.
func startKilling(t *testing.T, cmd *exec.Cmd) *killing {
	t.Helper()
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	k := &killing{cmd: cmd, stderr: os.NewFile(uintptr(fd), "stderr"), ended: make(chan struct{})}
	cmd.Stderr = k.stderr
	cmd.SysProcAttr.Setpgid = true
	if err := lab.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(k.ended)
		cmd.Wait()
	}()
	return k
}

func (k *killing) pid() int { return k.cmd.Process.Pid }

// said returns standard error so far.
func (k *killing) said() string {
	var b bytes.Buffer
	io.Copy(&b, io.NewSectionReader(k.stderr, 0, 1<<20))
	return b.String()
}

// outcome is how the front ended and what it said: "0", "killed", or "125: " and
// its words. To be called when it has ended.
func (k *killing) outcome() string {
	ws := k.cmd.ProcessState.Sys().(syscall.WaitStatus)
	how := fmt.Sprint(ws.ExitStatus())
	if ws.Signaled() {
		how = ws.Signal().String()
	}
	if said := k.said(); said != "" {
		how += ": " + said
	}
	return how
}

// within waits for the end of the front and of all that it has started; false
// if that does not come in time.
func (k *killing) within(limit time.Duration) bool {
	select {
	case <-k.ended:
	case <-time.After(limit):
		return false
	}
	return settle(limit, func() bool { return len(k.left()) == 0 })
}

// left returns the descendants of this process that are part of a run, and takes
// the ends of orphans that have come to it. A process that is said to be a
// zombie while a thread of it still holds on to its descriptors is not at its
// end yet.
func (k *killing) left() []lab.Process {
	return slices.DeleteFunc(lab.Descendants(os.Getpid()), func(p lab.Process) bool {
		switch {
		case theWorld.peer != nil && p.PID == theWorld.peer.PID():
			return true
		case p.State == 'Z' && p.Parent == os.Getpid() && p.PID != k.pid():
			pid, err := syscall.Wait4(p.PID, nil, syscall.WNOHANG, nil)
			return pid == p.PID || err != nil
		}
		return p.State == 'Z' && p.PID == k.pid()
	})
}

// clear ends what is left of a run that does not end by itself.
func (k *killing) clear() {
	for _, p := range k.left() {
		syscall.Kill(p.PID, syscall.SIGKILL)
	}
	<-k.ended
}

// A step is one system call of one part's in the course of a run: the nth of its
// kind.
type step struct {
	part string
	nr   int
	n    int
}

func (s step) String() string { return fmt.Sprintf("%s, call %d, number %d", s.part, s.nr, s.n) }

// held starts cmd, which runs the probe's "hold", and calls at for every step.
// When at has returned the step is done. The channel is closed when there is
// nobody left who could come to a step.
func held(t *testing.T, cmd *exec.Cmd, at func(k *killing, s step)) (*killing, <-chan struct{}) {
	t.Helper()
	return heldApart(t, cmd, func(k *killing, s step) <-chan struct{} { at(k, s); return nil })
}

// heldApart is held, but at may return a channel: the step is done when that is
// closed, and others go on meanwhile.
func heldApart(t *testing.T, cmd *exec.Cmd, at func(k *killing, s step) <-chan struct{}) (*killing, <-chan struct{}) {
	t.Helper()
	k := startKilling(t, cmd)
	h, err := hold.Watch(k.pid())
	if err != nil {
		k.clear()
		t.Fatalf("hold the run: %v\n%s", err, k.said())
	}
	count := make(map[step]int)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := h.Serve(func(c hold.Call) <-chan struct{} {
			s := step{part: partOf(c.TID), nr: c.NR}
			count[s]++
			s.n = count[s]
			return at(k, s)
		}); err != nil {
			t.Errorf("hold the run: %v", err)
		}
	}()
	return k, over
}
