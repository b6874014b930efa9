package broker

import (
	"net"
	"os"
	"path/filepath"
	"testing"

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
	if errno := b.ConnectUnix(unix.Gettid(), fd, unixAddress(path)); errno != ok {
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
