package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How an agent connects, for the order "dial".
const (
	dialItself   = ""         // by its own dialer
	dialBlocking = "blocking" // connect(2) returns when the connection is there
	dialPolling  = "polling"  // connect(2) returns at once, poll(2) says when it is there
)

// doDial makes o.Count connections, one after the other, and measures each until
// it is there.
func doDial(o order) (answer, error) {
	to, err := netip.ParseAddrPort(o.Address)
	if err != nil {
		return answer{}, err
	}
	// The calls below are not known to Go's scheduler, which would be measured too.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var a answer
	for range o.Count {
		took, err := o.dialOnce(to)
		if err != nil {
			return answer{}, err
		}
		a.Micros = append(a.Micros, float64(took.Nanoseconds())/1e3)
	}
	return a, nil
}

func (o order) dialOnce(to netip.AddrPort) (time.Duration, error) {
	if o.How == dialItself {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		c, err := o.dial(ctx, "tcp", o.Address)
		took := time.Since(begin)
		if err != nil {
			return 0, err
		}
		return took, c.Close()
	}
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if o.How == dialPolling {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	begin := time.Now()
	err = connectRaw(fd, to)
	if err == unix.EINPROGRESS && o.How == dialPolling {
		err = pollRaw(fd)
	}
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e != 0 {
		return 0, fmt.Errorf("connect: %w, %v", unix.Errno(e), err)
	}
	return took, nil
}

// connectRaw is connect(2) without the scheduler's knowledge.
func connectRaw(fd int, to netip.AddrPort) error {
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	p[0], p[1] = byte(to.Port()>>8), byte(to.Port())
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	return nil
}

// pollRaw waits until fd can be written to, likewise.
func pollRaw(fd int) error {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, 0, 0, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// doCalls measures single system calls, o.Count of each, in µs:
// getppid(2); write(2) and read(2) on a TCP connection with itself; sendmsg(2) and
// recvmsg(2) on a pair of unix sockets.
func doCalls(o order) (answer, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a := answer{Calls: map[string]float64{}}
	measure := func(name string, calls int, once func() error) error {
		begin := time.Now()
		for range o.Count {
			if err := once(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		a.Calls[name] = float64(time.Since(begin).Nanoseconds()) / 1e3 / float64(o.Count*calls)
		return nil
	}
	if err := measure("getppid", 1, func() error { unix.Getppid(); return nil }); err != nil {
		return a, err
	}
	tcp, err := tcpPair()
	if err != nil {
		return a, fmt.Errorf("a connection with itself: %w", err)
	}
	b := make([]byte, 1)
	if err := measure("rw", 2, func() error {
		if _, err := unix.Write(tcp[0], b); err != nil {
			return err
		}
		_, err := unix.Read(tcp[1], b)
		return err
	}); err != nil {
		return a, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return a, err
	}
	if err := measure("sendmsg", 1, func() error {
		if err := unix.Sendmsg(pair[0], b, nil, nil, 0); err != nil {
			return err
		}
		_, err := unix.Read(pair[1], b)
		return err
	}); err != nil {
		return a, err
	}
	err = measure("recvmsg", 1, func() error {
		if _, err := unix.Write(pair[0], b); err != nil {
			return err
		}
		_, _, _, _, err := unix.Recvmsg(pair[1], b, nil, 0)
		return err
	})
	return a, err
}

// tcpPair returns both ends of a connection over the loopback.
func tcpPair() (fds [2]int, err error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fds, err
	}
	defer unix.Close(l)
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fds, err
	}
	if err := unix.Listen(l, 1); err != nil {
		return fds, err
	}
	at, err := unix.Getsockname(l)
	if err != nil {
		return fds, err
	}
	if fds[0], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fds, err
	}
	if err := unix.Connect(fds[0], at); err != nil {
		return fds, err
	}
	if err := unix.SetsockoptInt(fds[0], unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fds, err
	}
	fds[1], _, err = unix.Accept(l)
	return fds, err
}
