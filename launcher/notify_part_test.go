package launcher

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keeping returns a lender that keeps copies.
func keeping(t *testing.T) *lender {
	l := newLender()
	l.keeps = true
	t.Cleanup(func() { l.Close() })
	return l
}

// elsewhere hands a listener on lo out to another process, and returns the listener's
// inode, its place there, and what ends that process.
func (l *lender) elsewhere(t *testing.T) (ino uint64, at place, end func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	ino = l.keep(fd)
	cmd := exec.Command("sleep", "100")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { cmd.Process.Kill(); cmd.Wait() }
	t.Cleanup(end)
	l.handedOut(ino)
	return ino, place{cmd.Process.Pid, 3}, end
}

func TestListenerIsKeptWhileSomebodyHasIt(t *testing.T) {
	l := keeping(t)
	ino, at, end := l.elsewhere(t)
	l.listens(ino, place{at.tid, 99}, true) // another process's number for it
	l.endListeners()
	if _, known := l.kept[ino]; !known {
		t.Fatal("a listener that is open was let go")
	}
	if got := l.listeners[ino]; got != at {
		t.Errorf("got the place %v, want %v", got, at)
	}
	end()
	l.endListeners()
	if _, known := l.kept[ino]; known {
		t.Error("a listener that nobody has is kept, and who connects to it waits for ever")
	}
}

// TestQueueOfAListenerEndsWithIt: who waits there is told.
func TestQueueOfAListenerEndsWithIt(t *testing.T) {
	l := keeping(t)
	ino, at, end := l.elsewhere(t)
	l.listens(ino, at, true)
	to, err := unix.Getsockname(l.kept[ino].fd)
	if err != nil {
		t.Fatal(err)
	}
	l.endListeners()
	for _, timer := range []*time.Timer{l.queues, l.soon} { // they have looked, before anybody was there
		timer.Stop()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	l.settles(st.Ino)
	end()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10_000); n != 1 || err != nil {
		t.Errorf("got %d events, %v, want that the connection was reset", n, err)
	}
}

func TestListenerThatNeedsNoCopyIsLetGo(t *testing.T) {
	l := keeping(t)
	ino, at, _ := l.elsewhere(t)
	l.listens(ino, at, false)
	if _, known := l.kept[ino]; known {
		t.Error("it is kept")
	}
	if got := l.wasParted(ino); got != isListening {
		t.Errorf("got %v remembered, want that it listens", got)
	}
}

// TestWhatIsOnItsWayIsKept: before a socket has been handed out no process has it.
func TestWhatIsOnItsWayIsKept(t *testing.T) {
	l := keeping(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ino := l.keep(fd)
	unix.Close(fd)
	l.look(-time.Hour)
	if _, known := l.kept[ino]; !known {
		t.Error("it was let go")
	}
	l.handedOut(ino)
	l.look(-time.Hour)
	if _, known := l.kept[ino]; known {
		t.Error("got it kept when it was handed out and closed")
	}
}

func TestConnectSaysOnceThatItHasBeenMade(t *testing.T) {
	for _, c := range []struct {
		name string
		told unix.Errno // what the connect has said before
		want [2]unix.Errno
	}{
		{"one that did not block", unix.EINPROGRESS, [2]unix.Errno{0, unix.EISCONN}},
		{"one that did not block, asked meanwhile", unix.EALREADY, [2]unix.Errno{0, unix.EISCONN}},
		{"one that blocked", 0, [2]unix.Errno{unix.EISCONN, unix.EISCONN}},
	} {
		l := keeping(t)
		const ino = 7
		l.connects(ino, place{})
		l.settles(ino)
		l.connected(ino, c.told)
		for i, want := range c.want {
			if got := l.connectAgain(ino); got != want {
				t.Errorf("%s: call %d: got %v, want %v", c.name, i+1, got, want)
			}
		}
	}
}
