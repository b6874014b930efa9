package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A configuration that changes under our feet is one or the other, or an error;
// what has been read before is not read again.
func TestConfigurationThatChangesIsReadOnce(t *testing.T) {
	w := enter(t)
	path := conf{}.write(t, w)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.watch(t)
	before := w.Snapshot()
	s := startStream(t, w.run("-c", path, "--", "sh", "-c", `echo up; while read x; do "$1" get "$2"; done`, "sh", w.probe, pages[0]))
	s.want("up")
	for _, change := range []func() error{
		func() error { return os.WriteFile(path, []byte("garbage\x00"), 0o600) },
		func() error { return os.Truncate(path, 0) },
		func() error { return os.Remove(path) },
		func() error { return unix.Mkfifo(path, 0o600) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		s.send("\n")
		s.want("10.9.0.2")
	}
	s.in.Close()
	s.wantEnd(0)
	os.Remove(path)
	w.wantNothingSince(t, before)
	nWorked, nRefused := 0, 0
	changeAllTheTime(t, path, good, func() {
		r := do(t, w.run("-c", path, "--", "echo", "started"))
		worked := r.code == 0 && r.stdout == "started\n" && r.stderr == ""
		refused := r.code == 125 && r.stdout == "" && regexp.MustCompile("^("+oneError+")$").MatchString(r.stderr)
		switch {
		case worked:
			nWorked++
		case refused:
			nRefused++
		default:
			t.Errorf("got status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
		}
	})
	if t.Logf("%d runs worked, %d were refused", nWorked, nRefused); nWorked == 0 || nRefused == 0 {
		t.Error("want some of each")
	}
}

// changeAllTheTime calls f sixty times while the file at path is now good, now
// half of it, now another file, now a directory, now nothing.
func changeAllTheTime(t *testing.T, path string, good []byte, f func()) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		owner, _ := os.Stat(filepath.Dir(path))
		uid, gid := int(owner.Sys().(*syscall.Stat_t).Uid), int(owner.Sys().(*syscall.Stat_t).Gid)
		for i := 0; ; i++ {
			select {
			case <-stop:
				os.RemoveAll(path)
				return
			default:
			}
			switch i % 5 {
			case 0, 2:
				os.WriteFile(path+".new", good, 0o600)
				os.Chown(path+".new", uid, gid)
				os.Remove(path)
				os.Rename(path+".new", path)
			case 1:
				os.Truncate(path, int64(len(good)/2))
			case 3:
				os.Remove(path)
				os.Mkdir(path, 0o755)
			case 4:
				os.RemoveAll(path)
			}
			<-time.After(3 * time.Millisecond) // somebody is to see it
		}
	}()
	for range 60 {
		f()
	}
	close(stop)
	<-stopped
}

// Pipes that nobody writes or reads are waited for, as by any program, and
// adit can be ended meanwhile.
func TestWaitForAPipeCanBeEnded(t *testing.T) {
	w := enter(t)
	fifo := filepath.Join(w.User.Home, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(fifo) })
	if err := os.Chown(fifo, w.User.UID, w.User.GID); err != nil {
		t.Fatal(err)
	}
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	for _, c := range []struct {
		name string
		args []string
	}{
		{"the configuration", []string{"-c", fifo}},
		{"--pcap", []string{"-c", file, "--pcap", "inner=" + fifo}},
		{"--log-file", []string{"-c", file, "--log-file", fifo}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := startKilling(t, w.run(append(c.args, "--", "true")...))
			if !settle(deadline/3, func() bool { return waitsForPipe(parts(k.pid())) }) {
				t.Error("nobody waits for the pipe")
			}
			k.cmd.Process.Signal(syscall.SIGTERM)
			if !k.within(deadline / 3) {
				t.Errorf("it does not end: %v", k.left())
				k.clear()
			}
			if o := k.outcome(); o != "terminated" {
				t.Errorf("got %q, want the end by SIGTERM", o)
			}
			w.wantNothingSince(t, before)
		})
	}
}

// waitsForPipe reports whether a thread of one of the processes waits in open(2)
// for the other end of a pipe: wait_for_partner of the kernel's fs/pipe.c. Of the
// engine, which may be closed to the tests, it knows only that it is about to: when
// there is a keeper.
func waitsForPipe(found map[string]int) bool {
	if found[keeper] != 0 {
		return true
	}
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(found[front]) + "/task/*/wchan")
	return slices.ContainsFunc(tasks, func(task string) bool {
		b, _ := os.ReadFile(task)
		return regexp.MustCompile("wait_for_partner|fifo_open").Match(b)
	})
}
