package broker

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Knows reports whether the names of the socket with the inode are known without a
// descriptor of it.
func (b *Broker) Knows(ino uint64) bool {
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	_, known := b.streams.names[ino]
	return known || b.streams.dials[ino] != nil
}

// LocalName is getsockname(2) of a TCP socket.
func (b *Broker) LocalName(ino uint64, fd int) ([]byte, syscall.Errno) {
	s := &b.streams
	s.mu.Lock()
	n, known := s.names[ino]
	if d := s.dials[ino]; d != nil {
		n, known = names{family: d.family, local: d.local}, true
	}
	s.mu.Unlock()
	if known {
		return sockaddr(n.family, n.local), ok
	}
	family, is := streamFamily(fd)
	if !is {
		return nil, unix.EACCES
	}
	native, err := nativeLocal(fd)
	if err != nil {
		return nil, errnoOf(err)
	}
	if peer, err := nativePeer(fd); err == nil && b.lo.holds(native.Addr()) {
		// Of a connection the address is one, not a wildcard, and of the family that
		// the other end has asked for.
		local := b.known(family, native)
		if peer.Addr() != b.lo.at(6) && local.Addr() == netip.IPv6Loopback() && native.Addr() != b.lo.at(6) {
			local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), local.Port())
		}
		return sockaddr(family, local), ok
	}
	return sockaddr(family, b.boundName(native)), ok
}

// boundName is the name of a socket that is bound and not connected: a wildcard
// stays one.
func (b *Broker) boundName(native netip.AddrPort) netip.AddrPort {
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	if key, known := b.streams.native[native]; known {
		return netip.AddrPortFrom(b.streams.binds[key].addr, key.port)
	}
	return native
}

// PeerName is getpeername(2) of a TCP socket.
func (b *Broker) PeerName(ino uint64, fd int) ([]byte, syscall.Errno) {
	s := &b.streams
	s.mu.Lock()
	n, known := s.names[ino]
	s.mu.Unlock()
	if fd < 0 && known {
		return sockaddr(n.family, n.remote), ok
	}
	family, is := streamFamily(fd)
	if !is {
		return nil, unix.EACCES
	}
	native, err := nativePeer(fd)
	if err != nil {
		return nil, errnoOf(err)
	}
	if known && n.remote.IsValid() {
		return sockaddr(family, n.remote), ok
	}
	return sockaddr(family, b.known(family, native)), ok
}

// SocketError is getsockopt(2) of SO_ERROR of a TCP socket: how its last connect
// has failed, 0 if that has not been told already.
func (b *Broker) SocketError(ino uint64, fd int) syscall.Errno {
	native, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if errno := b.streams.takeFailure(ino); errno != 0 {
		return errno
	}
	if err != nil {
		return errnoOf(err)
	}
	return syscall.Errno(native)
}

// takeFailure returns the failure of a socket's connect, once.
func (s *streams) takeFailure(ino uint64) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	errno := s.failed[ino]
	delete(s.failed, ino)
	return errno
}
