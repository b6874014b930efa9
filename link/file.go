package link

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A file is a non-blocking descriptor known to the runtime's poller.
type file struct {
	f      *os.File
	conn   syscall.RawConn
	closed atomic.Bool
}

// newFile takes over the descriptor fd.
func newFile(fd int, name string) (*file, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), name)
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{f: f, conn: conn}, nil
}

// adoptFile takes over f, on success only. The descriptor is duplicated, because an
// os.File that was made of a blocking descriptor stays unknown to the poller.
func adoptFile(f *os.File) (*file, error) {
	fd, err := dup(f)
	if err != nil {
		return nil, err
	}
	file, err := newFile(fd, f.Name())
	if err != nil {
		return nil, err
	}
	f.Close()
	return file, nil
}

// dup returns a duplicate of f's descriptor without changing its mode, which
// f.Fd might.
func dup(f *os.File) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	err = conn.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	return fd, os.NewSyscallError("fcntl", dupErr)
}

// read calls f until it reports true, and waits for the descriptor to become
// readable before each further call.
func (f *file) read(fn func(fd uintptr) bool) error { return f.err(f.conn.Read(fn)) }

// control calls f once. Unlike RawConn.Write it lets several writers in.
func (f *file) control(fn func(fd uintptr)) error { return f.err(f.conn.Control(fn)) }

// err returns net.ErrClosed for whatever the poller says about a closed file.
func (f *file) err(err error) error {
	if err != nil && f.closed.Load() {
		return net.ErrClosed
	}
	return err
}

func (f *file) close() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.f.Close()
}
