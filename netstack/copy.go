package netstack

import (
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/waiter"
)

// copyBuffers are what io.Copy moves at once. Four super-packets: gVisor takes a
// lock and looks at its windows for each write, whatever its size. They are held
// only while there is something in them, so that a connection through which
// nothing passes costs none.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

type copyBuffer = *[256 << 10]byte

var (
	_ io.ReaderFrom = Conn{}
	_ io.WriterTo   = Conn{}
)

// ReadFrom sends what r gives until its end. It is there for io.Copy.
func (c Conn) ReadFrom(r io.Reader) (sent int64, err error) {
	next := func() (copyBuffer, int, error) {
		buf := copyBuffers.Get().(copyBuffer)
		n, err := r.Read(buf[:])
		return buf, n, err
	}
	if raw := rawStream(r); raw != nil {
		next = func() (copyBuffer, int, error) { return readRaw(raw) }
	}
	for {
		buf, n, err := next()
		if n > 0 {
			w, err := c.Write(buf[:n])
			sent += int64(w)
			if err != nil {
				copyBuffers.Put(buf)
				return sent, err
			}
		}
		if buf != nil {
			copyBuffers.Put(buf)
		}
		if err == io.EOF {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
}

// rawStream returns a way to the descriptor of a stream of the kernel's, nil if
// r is something else.
func rawStream(r io.Reader) syscall.RawConn {
	if s, ok := r.(interface{ RawStream() syscall.RawConn }); ok {
		return s.RawStream()
	}
	s, ok := r.(interface {
		net.Conn
		syscall.Conn
	})
	if !ok || !ofNet(r) {
		return nil
	}
	switch s.LocalAddr().Network() {
	case "tcp", "unix":
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// ofNet reports whether r's type is of package net, and so reads from its
// descriptor and from nowhere else: what others put around a connection may have
// read ahead. One of net's own is what io.Copy hides methods of *net.TCPConn in.
func ofNet(r io.Reader) bool {
	t := reflect.TypeOf(r)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "net"
}

// readRaw waits until there is something to read, and only then takes a buffer
// for it. Without an error it is never nil.
func readRaw(raw syscall.RawConn) (buf copyBuffer, n int, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		buf = copyBuffers.Get().(copyBuffer)
		for {
			n, err = syscall.Read(int(fd), buf[:])
			if err != syscall.EINTR {
				break
			}
		}
		if err == syscall.EAGAIN {
			copyBuffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	switch {
	case waitErr != nil:
		return buf, 0, waitErr
	case err != nil:
		return buf, 0, os.NewSyscallError("read", err)
	case n == 0:
		return buf, 0, io.EOF
	}
	return buf, n, nil
}

// WriteTo writes what comes to w until its end. It is there for io.Copy.
func (c Conn) WriteTo(w io.Writer) (got int64, err error) {
	for {
		if err := c.waitReadable(); err != nil {
			return got, c.error("read", err)
		}
		buf := copyBuffers.Get().(copyBuffer)
		n, err := c.Read(buf[:])
		written, writeErr := 0, error(nil)
		if n > 0 {
			written, writeErr = w.Write(buf[:n])
		}
		copyBuffers.Put(buf)
		got += int64(written)
		switch {
		case writeErr != nil:
			return got, writeErr
		case written < n:
			return got, io.ErrShortWrite
		case err == io.EOF:
			return got, nil
		case err != nil:
			return got, err
		}
	}
}

// waitReadable waits until Read would not.
func (c Conn) waitReadable() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	by := c.readBy.passed()
	if err := c.check(by); err != nil {
		return err
	}
	for c.ep.Readiness(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) == 0 {
		if err := c.wait(c.readable, by); err != nil {
			return err
		}
	}
	return nil
}
