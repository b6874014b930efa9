package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// socketDir is where wg(8) looks for the sockets of interfaces that are not the
// kernel's.
const socketDir = "/var/run/wireguard"

// A Socket is where wg(8) and others reach the device.
type Socket struct {
	path string
	l    *net.UnixListener
	file os.FileInfo // of path, to know it again; nil: there was none
	once sync.Once
}

// Listen makes the socket of the interface: /var/run/wireguard/NAME.sock, which
// only its owner may use. A socket that nobody listens at any more is replaced.
// The process's umask is changed for a moment.
func Listen(name string) (*Socket, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("%q is not the name of an interface", name)
	}
	if err := os.MkdirAll(socketDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(socketDir, name+".sock")
	defer unix.Umask(unix.Umask(0o077))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if errors.Is(err, unix.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path})
	}
	if err != nil {
		return nil, err
	}
	s := newSocket(path, l)
	if s.file == nil {
		// wg(8), which was refused at the one before, unlinks what is there by then. It
		// does not do so again at one that listens.
		l.Close()
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path}); err != nil {
			return nil, err
		}
		s = newSocket(path, l)
	}
	return s, nil
}

// removeStale removes a socket that nobody listens at, and nothing else that
// has its name.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is not a socket: %w", path, unix.EEXIST)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: %w", path, unix.EADDRINUSE)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// InheritSocket returns the socket of the interface whose descriptor has the
// number s, which the parent made.
func InheritSocket(s, name string) (*Socket, error) {
	f, err := inherit(s)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	var op *net.OpError // names the network and the file once more
	if errors.As(err, &op) {
		err = op.Err
	}
	if err != nil {
		return nil, fmt.Errorf("descriptor %s: %w", s, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("descriptor %s is not a listening unix socket", s)
	}
	return newSocket(filepath.Join(socketDir, name+".sock"), u), nil
}

func newSocket(path string, l *net.UnixListener) *Socket {
	l.SetUnlinkOnClose(false) // by then it may be another's
	s := &Socket{path: path, l: l}
	s.file, _ = os.Lstat(path)
	return s
}

func (s *Socket) accept() (net.Conn, error) { return s.l.Accept() }

// Close stops listening and removes the file. Further calls do nothing.
func (s *Socket) Close() error {
	var err error
	s.once.Do(func() {
		if s.isThere() {
			os.Remove(s.path)
		}
		err = s.l.Close()
	})
	return err
}

// isThere reports whether the file is still the one that Listen made.
func (s *Socket) isThere() bool {
	now, err := os.Lstat(s.path)
	return err == nil && s.file != nil && os.SameFile(now, s.file)
}

// watch waits until the file is removed, which is how a user ends the device,
// and returns an error that wraps net.ErrClosed then.
func (s *Socket) watch(ctx context.Context) error {
	if s.file == nil { // an inherited socket that is elsewhere, or unnamed
		<-ctx.Done()
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	// The number of links changes (IN_ATTRIB) when one goes while the socket
	// is in use: IN_DELETE_SELF waits for the last user.
	_, err = unix.InotifyAddWatch(fd, s.path, unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	var buf [4096]byte
	for s.isThere() {
		if _, err := f.Read(buf[:]); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s was removed: %w", s.path, net.ErrClosed)
}
