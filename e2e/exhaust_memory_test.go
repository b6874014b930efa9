package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"adit/e2e/suite"
)

// A memoryGroup is a cgroup with a limit on memory.
type memoryGroup struct{ dir string }

// set writes to a file of a cgroup; where there is no cgroup it makes none.
func set(path string, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(n))
	return errors.Join(err, f.Close())
}

// take puts a process into the group.
func (g *memoryGroup) take(t *testing.T, pid int) {
	t.Helper()
	if err := set(filepath.Join(g.dir, "cgroup.procs"), pid); err != nil {
		suite.Skip(t, "a process cannot be put into a cgroup: %v", err)
	}
}

// newMemoryGroup makes one, in whichever hierarchy has memory here.
func newMemoryGroup(t *testing.T, limit int) *memoryGroup {
	t.Helper()
	var first error
	for _, h := range []struct{ root, limit string }{
		{"/sys/fs/cgroup", "memory.max"},                   // version 2
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, // version 1
	} {
		dir := filepath.Join(h.root, "adit-e2e-"+strconv.Itoa(os.Getpid()))
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			if err = set(filepath.Join(dir, h.limit), limit); err == nil {
				g := &memoryGroup{dir}
				set(filepath.Join(dir, "memory.swap.max"), 0)
				t.Cleanup(func() {
					if !settle(deadline/9, func() bool { return os.Remove(dir) == nil }) {
						t.Errorf("somebody is left in %s", dir)
					}
				})
				return g
			}
			os.Remove(dir)
		}
		if first == nil || !errors.Is(err, os.ErrNotExist) {
			first = err
		}
	}
	suite.Skip(t, "no cgroup with a limit on memory: %v", first)
	return nil
}

// With little memory a run works or somebody is killed by the kernel: never is a
// trace of Go's shown, and nothing is left.
func TestMemoryLimitOfAGroup(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	for _, megabytes := range []int{128, 24, 16, 12, 8, 6, 4} {
		t.Run(fmt.Sprint(megabytes, " MB"), func(t *testing.T) {
			g := newMemoryGroup(t, megabytes<<20)
			before := w.Snapshot()
			cmd := w.plain("sh", "-c", `read x; exec "$@"`, "sh", w.adit, "run", "--stop-timeout", "1s", "-c", file, "--", w.probe, "get", pages[0])
			s := startStream(t, cmd)
			g.take(t, cmd.Process.Pid)
			s.send("\n")
			code, sig, rest := s.end()
			t.Logf("status %d, signal %v, stdout %q, stderr %q", code, sig, rest, s.said())
			worked := code == 0 && s.said() == ""
			// The engine may be killed when the command has begun but adit has not
			// heard of it yet: then the command says that it has no network.
			// A keeper that is killed takes the command along.
			keeper := regexp.MustCompile(`^adit: warning: adit's keeper, which keeps .* was killed and the command is ended\n$`).MatchString(s.said())
			killed := keeper || sig == syscall.SIGKILL || code == 137 || code == 125 && regexp.MustCompile("^(probe: .* network is unreachable\n)?("+oneError+")$").MatchString(s.said())
			switch {
			case megabytes >= 128 && !worked:
				t.Error("want it to work")
			case !worked && !killed:
				t.Error("want it to work, or the kernel to kill somebody")
			case strings.Contains(s.said(), "goroutine "):
				t.Error("Go's words are shown")
			}
			w.wantNothingSince(t, before)
		})
	}
}

// A command that takes all memory is killed by the kernel, and adit, which is
// smaller, tells of it.
func TestCommandThatTakesAllMemory(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	g := newMemoryGroup(t, 128<<20)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	w.watch(t)
	s := startStream(t, w.plain("sh", "-c", `read x; exec "$@"`, "sh", w.adit, "run", "-c", file, "--", "python3", "-c", "print('up', flush=True)\nb=b''\nwhile True: b+=bytes(1<<20)"))
	g.take(t, s.cmd.Process.Pid)
	s.send("\n")
	s.want("up")
	if code, sig, _ := s.end(); sig != syscall.SIGKILL {
		t.Errorf("got status %d, signal %v, want SIGKILL\n%s", code, sig, s.said())
	}
	w.wantNothingSince(t, before)
}
