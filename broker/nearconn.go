package broker

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A nearConn is our end of a connection on lo. One of package net takes a dozen more
// system calls to make, and there is one for each connection of the program's.
type nearConn struct {
	f   *os.File
	raw syscall.RawConn
}

var _ net.Conn = nearConn{}

// streamConn makes one of a descriptor, which does not block and is owned from now on.
func streamConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "relay")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return nearConn{f, raw}, nil
}

func (c nearConn) Read(b []byte) (int, error)  { return c.f.Read(b) }
func (c nearConn) Write(b []byte) (int, error) { return c.f.Write(b) }
func (c nearConn) Close() error                { return c.f.Close() }

// RawStream is the descriptor: Read reads from it and from nowhere else
// (netstack.Conn.ReadFrom).
func (c nearConn) RawStream() syscall.RawConn { return c.raw }

// CloseWrite sends a FIN.
func (c nearConn) CloseWrite() error {
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) }); e != nil {
		return e
	}
	return os.NewSyscallError("shutdown", err)
}

// SetLinger is that of *net.TCPConn, of which 0, a RST, is used.
func (c nearConn) SetLinger(seconds int) error {
	var err error
	l := unix.Linger{Linger: int32(max(seconds, 0))}
	if seconds >= 0 {
		l.Onoff = 1
	}
	if e := c.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &l)
	}); e != nil {
		return e
	}
	return os.NewSyscallError("setsockopt", err)
}

func (c nearConn) LocalAddr() net.Addr  { return c.name(nativeLocal) }
func (c nearConn) RemoteAddr() net.Addr { return c.name(nativePeer) }

func (c nearConn) name(of func(fd int) (netip.AddrPort, error)) net.Addr {
	var at netip.AddrPort
	c.raw.Control(func(fd uintptr) { at, _ = of(int(fd)) })
	return net.TCPAddrFromAddrPort(at)
}

func (c nearConn) SetDeadline(t time.Time) error      { return c.f.SetDeadline(t) }
func (c nearConn) SetReadDeadline(t time.Time) error  { return c.f.SetReadDeadline(t) }
func (c nearConn) SetWriteDeadline(t time.Time) error { return c.f.SetWriteDeadline(t) }
