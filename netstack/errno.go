package netstack

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// errnoOf returns what a Linux kernel answers where gVisor says err. gVisor's
// errors are no Go errors, and a program can tell ECONNREFUSED from ETIMEDOUT
// only by the number: this is the one place where they are translated.
func errnoOf(err tcpip.Error) syscall.Errno {
	for _, translate := range []func(tcpip.Error) syscall.Errno{wayErrno, stateErrno, requestErrno} {
		if errno := translate(err); errno != 0 {
			return errno
		}
	}
	return syscall.EIO
}

// wayErrno translates what the network, or the far end, has done; 0 is
// something else.
func wayErrno(err tcpip.Error) syscall.Errno {
	switch err.(type) {
	case *tcpip.ErrAborted, *tcpip.ErrConnectionAborted:
		return syscall.ECONNABORTED
	case *tcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *tcpip.ErrConnectionReset:
		return syscall.ECONNRESET
	case *tcpip.ErrHostDown:
		return syscall.EHOSTDOWN
	case *tcpip.ErrHostUnreachable:
		return syscall.EHOSTUNREACH
	case *tcpip.ErrMessageTooLong:
		return syscall.EMSGSIZE
	case *tcpip.ErrNetworkUnreachable:
		return syscall.ENETUNREACH
	case *tcpip.ErrNoNet:
		return syscall.ENONET
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	}
	return 0
}

// stateErrno translates what the state of the socket, or of the stack, does
// not permit; 0 is something else.
func stateErrno(err tcpip.Error) syscall.Errno {
	switch err.(type) {
	case *tcpip.ErrAlreadyBound, *tcpip.ErrInvalidEndpointState:
		return syscall.EINVAL
	case *tcpip.ErrAlreadyConnected:
		return syscall.EISCONN
	case *tcpip.ErrAlreadyConnecting:
		return syscall.EALREADY
	case *tcpip.ErrClosedForSend:
		return syscall.EPIPE
	case *tcpip.ErrConnectStarted:
		return syscall.EINPROGRESS
	case *tcpip.ErrNoBufferSpace:
		return syscall.ENOBUFS
	case *tcpip.ErrNoPortAvailable:
		return syscall.EADDRNOTAVAIL // connect(2): all ephemeral ports are in use
	case *tcpip.ErrNotConnected, *tcpip.ErrClosedForReceive:
		return syscall.ENOTCONN
	case *tcpip.ErrPortInUse, *tcpip.ErrDuplicateAddress:
		return syscall.EADDRINUSE
	case *tcpip.ErrWouldBlock:
		return syscall.EAGAIN
	}
	return 0
}

// requestErrno translates what cannot be had at all; 0 is something else.
func requestErrno(err tcpip.Error) syscall.Errno {
	switch err.(type) {
	case *tcpip.ErrAddressFamilyNotSupported:
		return syscall.EAFNOSUPPORT
	case *tcpip.ErrBadAddress, *tcpip.ErrBadBuffer:
		return syscall.EFAULT
	case *tcpip.ErrBadLocalAddress:
		return syscall.EADDRNOTAVAIL
	case *tcpip.ErrBroadcastDisabled:
		return syscall.EACCES
	case *tcpip.ErrDestinationRequired:
		return syscall.EDESTADDRREQ
	case *tcpip.ErrInvalidOptionValue, *tcpip.ErrInvalidPortRange,
		*tcpip.ErrMalformedHeader, *tcpip.ErrMissingRequiredFields:
		return syscall.EINVAL
	case *tcpip.ErrNoSuchFile:
		return syscall.ENOENT
	case *tcpip.ErrNotPermitted:
		return syscall.EPERM
	case *tcpip.ErrNotSupported, *tcpip.ErrQueueSizeNotSupported:
		return syscall.EOPNOTSUPP
	case *tcpip.ErrUnknownDevice, *tcpip.ErrUnknownNICID, *tcpip.ErrInvalidNICID:
		return syscall.ENODEV
	case *tcpip.ErrUnknownProtocol:
		return syscall.EPROTONOSUPPORT
	case *tcpip.ErrUnknownProtocolOption:
		return syscall.ENOPROTOOPT
	}
	return 0
}

// sysError returns gVisor's err as the error of a system call.
func sysError(call string, err tcpip.Error) error {
	return os.NewSyscallError(call, errnoOf(err))
}

// readError is the error of a read that ended with err.
func readError(err tcpip.Error) error {
	if _, ok := err.(*tcpip.ErrClosedForReceive); ok {
		return io.EOF
	}
	return sysError("read", err)
}

// contextError returns what package net makes of a context's end: a deadline is
// a timeout, a cancellation is itself.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return ctx.Err()
}

// opError wraps err as package net does, so that callers find the errno below.
func opError(op, network string, source, addr net.Addr, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: network, Source: source, Addr: addr, Err: err}
}
