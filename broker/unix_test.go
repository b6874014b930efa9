package broker

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connectTo connects to the path of a unix socket, as this process.
func connectTo(t *testing.T, b *Broker, path string) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if errno := b.ConnectUnix(context.Background(), unix.Gettid(), fd, unixAddress(path)); errno != ok {
		return errno
	}
	return nil
}

// The sockets in a resolver's directory are refused by every name, and others are not.
func TestResolversAreKnownByWhatTheyAre(t *testing.T) {
	dir := t.TempDir()
	resolver, other := filepath.Join(dir, "nscd"), filepath.Join(dir, "other")
	for _, d := range []string{resolver, other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", d+"/socket")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	near, _ := newNetwork(t)
	b, err := New(Config{Dialer: near, Resolvers: []string{resolver}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := os.Symlink(resolver, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(resolver+"/socket", dir+"/hard"); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	names := []string{
		resolver + "/socket", "nscd/socket", "link/socket", "hard", "/proc/self/cwd/nscd/socket",
		"/proc/self/root" + resolver + "/socket", "../" + filepath.Base(dir) + "/nscd/socket",
	}
	for _, name := range names {
		if err := connectTo(t, b, name); err != unix.ECONNREFUSED {
			t.Errorf("%s: got %v, want ECONNREFUSED", name, err)
		}
	}
	for _, name := range []string{other + "/socket", "other/socket", "/proc/self/cwd/other/socket"} {
		if err := connectTo(t, b, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Rename(resolver, dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/moved/new")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{"moved/socket", "moved/new"} {
		if err := connectTo(t, b, name); err != unix.ECONNREFUSED {
			t.Errorf("%s, in a directory that was renamed: got %v, want ECONNREFUSED", name, err)
		}
	}
	// What is said of oneself in /proc leads no further than one link of one's own.
	for _, name := range []string{"/proc/self/../self/root" + other + "/socket", "/proc/self/root/proc/self/root" + other + "/socket"} {
		if err := connectTo(t, b, name); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
}

func FuzzOwnLink(f *testing.F) {
	for _, s := range []string{"/proc/self/fd/3/x", "/proc/thread-self/cwd", "/proc/self/fd/-1", "/proc/self/../x", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		link, _, is := ownLink(path)
		if is && link != "cwd" && link != "root" && (len(link) < 4 || link[:3] != "fd/") {
			t.Errorf("%q: the link is %q", path, link)
		}
	})
}

// A connect waits while the listener's queue is full, as long as its socket's limit and
// its caller let it, and what it has waited with is as before.
func TestConnectWaitsForAUnixListenerUntilItIsLeft(t *testing.T) {
	near, _ := newNetwork(t)
	b, err := New(Config{Dialer: near})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(t.TempDir(), "full")
	socket := func(limit time.Duration) int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		tv := unix.NsecToTimeval(int64(limit))
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
		return fd
	}
	l := socket(0)
	if err := unix.Bind(l, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 0); err != nil {
		t.Fatal(err)
	}
	connect := func(ctx context.Context, fd int) error {
		if errno := b.ConnectUnix(ctx, unix.Gettid(), fd, unixAddress(path)); errno != ok {
			return errno
		}
		return nil
	}
	if err := connect(t.Context(), socket(0)); err != nil {
		t.Fatal(err) // the queue is full now
	}
	left, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		limit time.Duration
		ctx   context.Context
		want  error
	}{{20 * time.Millisecond, t.Context(), unix.EAGAIN}, {0, left, unix.EINTR}, {time.Hour, left, unix.EINTR}} {
		fd, begin := socket(row.limit), time.Now()
		if err := connect(row.ctx, fd); err != row.want {
			t.Errorf("limit %v: got %v, want %v", row.limit, err, row.want)
		}
		if took := time.Since(begin); row.want == unix.EAGAIN && took < row.limit {
			t.Errorf("limit %v: it waits for %v", row.limit, took)
		}
		// Timers of the kernel's tick in up to ten milliseconds.
		if tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO); err != nil || time.Duration(tv.Nano()) < row.limit || time.Duration(tv.Nano()) > row.limit+10*time.Millisecond {
			t.Errorf("limit %v: afterwards it is %v", row.limit, tv)
		}
	}
	done := make(chan error)
	go func() { done <- connect(t.Context(), socket(0)) }()
	fd, _, err := unix.Accept(l)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if err := <-done; err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// Two that wait with the same socket, as a call that a signal has ended and the next one,
// know its limit, which is none, and leave it as it was; meanwhile it is not ours that is
// told.
func TestUnixSocketKeepsItsLimitHoweverManyWait(t *testing.T) {
	near, _ := newNetwork(t)
	b, err := New(Config{Dialer: near})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(t.TempDir(), "full")
	var fds [3]int
	for i := range fds {
		if fds[i], err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[i])
	}
	if err := unix.Bind(fds[0], &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fds[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fds[1], &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err) // the queue is full now
	}
	var st unix.Stat_t
	if err := unix.Fstat(fds[2], &st); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan syscall.Errno)
	waiting := func(n int) {
		for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
			b.unixWaits.mu.Lock()
			l := b.unixWaits.limit[st.Ino]
			users := 0
			if l != nil {
				users = l.users
			}
			b.unixWaits.mu.Unlock()
			if users == n {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d wait, want %d", users, n)
			}
		}
	}
	for n, ctx := range []context.Context{ctx, t.Context()} {
		go func() { result <- b.ConnectUnix(ctx, unix.Gettid(), fds[2], unixAddress(path)) }()
		waiting(n + 1)
		if got := b.SendLimit(st.Ino, fds[2]); got != 0 {
			t.Errorf("%d wait: the limit is %v, want none", n+1, got)
		}
	}
	cancel()
	if errno := <-result; errno != unix.EINTR {
		t.Errorf("the one that is left: got %v, want EINTR", errno)
	}
	waiting(1)
	fd, _, err := unix.Accept(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if errno := <-result; errno != ok {
		t.Errorf("when there is room: %v", errno)
	}
	if tv, err := unix.GetsockoptTimeval(fds[2], unix.SOL_SOCKET, unix.SO_SNDTIMEO); err != nil || tv.Nano() != 0 {
		t.Errorf("afterwards the limit is %v (%v)", tv, err)
	}
}
