package broker

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// LocalName is getsockname(2) of a TCP socket. fd may be -1, a socket that cannot be
// had: then EACCES says that it is none of ours.
func (b *Broker) LocalName(ino uint64, fd int) ([]byte, syscall.Errno) {
	n, known := b.streams.namesOf(ino)
	if known && n.local.IsValid() {
		return sockaddr(n.family, n.local), ok
	}
	n, errno := b.nativeNames(ino, fd)
	if errno != 0 {
		return nil, errno
	}
	if !n.remote.IsValid() || !b.lo.holds(n.local.Addr()) {
		return sockaddr(n.family, b.boundName(n.local)), ok
	}
	if v, is := b.streams.visitorFrom(n.remote); is {
		return sockaddr(n.family, v.local), ok
	}
	// Of a connection the address is one, not a wildcard, and of the family that the
	// other end has asked for.
	local := b.known(n.family, n.local)
	if local.Addr() == netip.IPv6Loopback() && b.boundName(n.local).Addr() != local.Addr() &&
		n.remote.Addr() != b.lo.at(6) && n.local.Addr() != b.lo.at(6) {
		local = netip.AddrPortFrom(home4, local.Port())
	}
	return sockaddr(n.family, local), ok
}

// home4 is loopback's usual address.
var home4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Knows reports whether it is known without a look what the socket with the inode is
// called, or that it is none of ours.
func (b *Broker) Knows(ino uint64) bool {
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	_, named := b.streams.names[ino]
	_, called := b.streams.called[ino]
	return named || called || b.streams.others[ino] || b.streams.dials[ino] != nil
}

// namesOf returns what a socket is called in the tunnel.
func (s *streams) namesOf(ino uint64) (n names, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dials[ino]; d != nil {
		return names{d.family, d.local, d.far}, true
	}
	if n, known = s.names[ino]; !known {
		n, known = s.called[ino]
	}
	return n, known
}

// nativeNames returns what the kernel calls a socket.
func (b *Broker) nativeNames(ino uint64, fd int) (n names, errno syscall.Errno) {
	if fd < 0 {
		return b.streams.foundNames(ino)
	}
	var is bool
	if n.family, is = streamFamily(fd); !is {
		return n, unix.EACCES
	}
	var err error
	if n.local, err = nativeLocal(fd); err != nil {
		return n, errnoOf(err)
	}
	if peer, err := nativePeer(fd); err == nil {
		n.remote = peer
	}
	return n, ok
}

// foundNames looks for a socket that cannot be had in the tables of the kernel's. One
// that is not there is remembered: it may be asked for again and again.
func (s *streams) foundNames(ino uint64) (n names, errno syscall.Errno) {
	s.mu.Lock()
	other := s.others[ino]
	s.mu.Unlock()
	if other {
		return n, unix.EACCES
	}
	if n, errno = procNames(ino); errno != 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		remember(s.others, ino, true)
	}
	return n, errno
}

// boundName is the name of a socket that is bound and not connected: a wildcard
// stays one.
func (b *Broker) boundName(native netip.AddrPort) netip.AddrPort {
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	if key, known := b.streams.native[native]; known {
		return netip.AddrPortFrom(key.addr, key.port)
	}
	return native
}

// PeerName is getpeername(2) of a TCP socket. fd is as for LocalName.
func (b *Broker) PeerName(ino uint64, fd int) ([]byte, syscall.Errno) {
	n, known := b.streams.namesOf(ino)
	native, errno := b.nativeNames(ino, fd)
	switch {
	case errno != 0 && (!known || fd >= 0):
		return nil, errno
	case errno != 0, !native.remote.IsValid():
		return nil, unix.ENOTCONN // the kernel's tables have those that are connected
	case known && n.remote.IsValid():
		return sockaddr(n.family, n.remote), ok
	case known:
		return nil, unix.ENOTCONN
	}
	return sockaddr(native.family, b.known(native.family, native.remote)), ok
}

// SocketError is getsockopt(2) of SO_ERROR of a TCP socket: how its last connect
// has failed, 0 if that has not been told already.
func (b *Broker) SocketError(ino uint64, fd int) syscall.Errno {
	if d, ends := b.streams.dialOf(ino); ends {
		<-d.done // the kernel's own error is on its way, and would be told twice
	}
	native, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if f := b.streams.takeFailure(ino); f.errno != 0 {
		if native == 0 && err == nil && !f.returned && hasEnded(fd) {
			return 0 // a read or write of the program's, which is not seen, was told
		}
		return f.errno
	}
	if err != nil {
		return errnoOf(err)
	}
	return syscall.Errno(native)
}

// hasEnded reports whether a TCP socket was refused, or its connection has ended: after
// a connect that returned an error by itself it would be as new.
func hasEnded(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLRDHUP != 0
}

// A failure is how the connect of a socket has failed that nobody was told of yet. The
// kernel has an error of its own for it, unless it is one that was returned.
type failure struct {
	errno    syscall.Errno
	returned bool
}

// takeFailure returns the failure of a socket's connect, once.
func (s *streams) takeFailure(ino uint64) failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.failed[ino]
	delete(s.failed, ino)
	return f
}

// ReturnError takes back what SocketError has said, and nobody has heard: it is
// said once more.
func (b *Broker) ReturnError(ino uint64, errno syscall.Errno) {
	if errno == 0 {
		return
	}
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	remember(b.streams.failed, ino, failure{errno, true})
}
