package preload

import (
	"context"
	"syscall"
	"unsafe"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// handle answers one question. The descriptor is -1, or to be sent and closed.
func (s *Server) handle(ctx context.Context, r *request) (a answer, fd int) {
	switch r.op {
	case opAddrInfo:
		return s.addrInfo(ctx, r.question), -1
	case opNameInfo:
		return s.nameInfo(ctx, r.question), -1
	case opHostByName:
		return s.hostByName(ctx, r.question), -1
	case opHostByAddress:
		return s.hostByAddress(ctx, r.question), -1
	case opResQuery, opResSearch, opResSend:
		return s.resolver(ctx, r.question), -1
	case opSocket:
		return s.socket(r)
	}
	return s.call(ctx, r), -1
}

// failed is the answer to a system call that fails, or succeeds and has no more to
// say.
func failed(errno syscall.Errno) answer { return answer{err: int32(errno)} }

const typeFlags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK

// socket is socket(2) of an inet family. There is TCP and nothing else: only where
// each call can be stopped is another kind of socket harmless.
func (s *Server) socket(r *request) (answer, int) {
	family, kind, protocol := int(r.arg[0]), int(r.arg[1])&^typeFlags, int(r.arg[2])
	switch {
	case kind == unix.SOCK_STREAM && (protocol == 0 || protocol == unix.IPPROTO_TCP):
	case kind == unix.SOCK_RAW:
		return failed(unix.EPERM), -1
	case family == unix.AF_INET6 && kind == unix.SOCK_DGRAM && (protocol == 0 || protocol == unix.IPPROTO_UDP):
		return standIn(r.arg[1])
	case kind == unix.SOCK_DGRAM && (protocol == 0 || protocol == unix.IPPROTO_UDP ||
		protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6):
		return failed(unix.EACCES), -1
	case kind < unix.SOCK_STREAM || kind > unix.SOCK_PACKET:
		return failed(unix.EINVAL), -1
	case protocol == 0:
		return failed(unix.ESOCKTNOSUPPORT), -1
	default:
		return failed(unix.EPROTONOSUPPORT), -1
	}
	fd, errno := s.cfg.Broker.NewStream(family, r.arg[1]&unix.SOCK_NONBLOCK != 0)
	if errno != 0 {
		return failed(errno), -1
	}
	return answer{}, fd
}

// standIn makes what is handed out for an IPv6 UDP socket: libcurl makes one to find
// out whether there is IPv6, and without asks for IPv4 addresses only, in a tunnel
// of IPv6 alone as well. It is a unix socket, as the program could make itself, and
// refuses inet addresses.
func standIn(kind int32) (answer, int) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|int(kind)&unix.SOCK_NONBLOCK, 0)
	if errno, is := err.(syscall.Errno); is {
		return failed(errno), -1
	}
	return answer{}, fd
}

// call is a system call on a socket.
func (s *Server) call(ctx context.Context, r *request) answer {
	var st unix.Stat_t
	if err := unix.Fstat(r.socket, &st); err != nil {
		return failed(unix.EBADF)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return failed(unix.ENOTSOCK)
	}
	b, fd := s.cfg.Broker, r.socket
	if !b.IsStream(fd) {
		return s.callOther(ctx, r)
	}
	switch r.op {
	case opConnect:
		result := b.Connect(ctx, st.Ino, fd, r.data, func() {})
		r.then = result.Relay
		return failed(result.Errno)
	case opBind:
		return failed(b.Bind(st.Ino, fd, r.data))
	case opListen:
		return failed(b.Listen(st.Ino, fd, int(r.arg[0])))
	case opLocalName:
		sa, errno := b.LocalName(st.Ino, fd)
		return answer{err: int32(errno), data: sa}
	case opPeerName:
		sa, errno := b.PeerName(st.Ino, fd)
		return answer{err: int32(errno), data: sa}
	case opSocketError:
		return answer{value: int32(b.SocketError(st.Ino, fd))}
	}
	return failed(unix.EINVAL)
}

// callOther is a call on a socket that is not the broker's: one of another family,
// or an inet socket that the program was started with or was sent. Such a one has
// its names and goes nowhere.
//
// It is made as the user of the program, who is not always ours: the kernel keeps for
// the other end of a unix socket who has called listen and who connect (SO_PEERCRED).
func (s *Server) callOther(ctx context.Context, r *request) (a answer) {
	a = failed(unix.EACCES)
	if err := broker.AsThread(int(r.from.Pid), func() { a = s.callAsProgram(ctx, r) }); err != nil {
		s.log.Debug("a call cannot be made as the program's user", "pid", r.from.Pid, "err", err)
	}
	return a
}

// isUnixStream reports whether a socket is of AF_UNIX, and has connections.
func isUnixStream(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, kindErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kindErr == nil && domain == unix.AF_UNIX && kind != unix.SOCK_DGRAM
}

func (s *Server) callAsProgram(ctx context.Context, r *request) answer {
	switch r.op {
	case opListen:
		return failed(s.cfg.Broker.Listen(0, r.socket, int(r.arg[0])))
	case opConnect:
		if family := broker.Family(r.data); family == unix.AF_INET || family == unix.AF_INET6 {
			if isUnixStream(r.socket) {
				return failed(unix.EINVAL) // as the kernel says; another kind may stand in for UDP
			}
			return failed(unix.EACCES)
		}
		return failed(s.cfg.Broker.ConnectUnix(ctx, int(r.from.Pid), r.socket, r.data))
	case opLocalName:
		return kernelName(unix.SYS_GETSOCKNAME, r.socket)
	case opPeerName:
		return kernelName(unix.SYS_GETPEERNAME, r.socket)
	case opSocketError:
		n, err := unix.GetsockoptInt(r.socket, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return failed(unix.ENOPROTOOPT)
		}
		return answer{value: int32(n)}
	}
	return failed(unix.EACCES)
}

// kernelName is getsockname(2) or getpeername(2), with the bytes as they are.
func kernelName(call uintptr, fd int) answer {
	var sa unix.RawSockaddrAny
	length := uint32(unix.SizeofSockaddrAny)
	_, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return failed(errno)
	}
	bytes := (*[unix.SizeofSockaddrAny]byte)(unsafe.Pointer(&sa))
	return answer{data: append([]byte(nil), bytes[:min(length, unix.SizeofSockaddrAny)]...)}
}
