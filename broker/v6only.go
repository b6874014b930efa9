package broker

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// IPV6_V6ONLY keeps an IPv6 socket from IPv4. The broker's part of lo is IPv4, so that
// the program's TCP sockets lose the flag when they are bound or connected; what it
// was is known here.

// isV6Only reports whether the kernel has the flag still.
func isV6Only(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	return err == nil && n != 0
}

// speakIPv4 lets an IPv6 socket that is not bound yet speak IPv4, which it does
// here with everybody, and reports whether it was not to.
func speakIPv4(fd int) (v6only bool) {
	return isV6Only(fd) && unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0) == nil
}

// IsV6Only is getsockopt(2) of IPV6_V6ONLY of a TCP socket.
func (b *Broker) IsV6Only(ino uint64, fd int) bool {
	if isV6Only(fd) {
		return true
	}
	if _, e, known := b.streams.boundAt(fd); known {
		return e.v6only
	}
	b.streams.mu.Lock()
	defer b.streams.mu.Unlock()
	return b.streams.v6only[ino]
}

// destination reads the address that a TCP socket is to be connected to.
func (b *Broker) destination(ino uint64, family, fd int, sa []byte) (netip.AddrPort, syscall.Errno) {
	far, errno := parseSockaddr(family, sa)
	switch {
	case errno != ok || family == unix.AF_INET:
		return far, errno
	case lacksScope(sa):
		return far, unix.EINVAL // tcp_v6_connect
	case isV6Only(fd):
		b.streams.mu.Lock()
		remember(b.streams.v6only, ino, true)
		b.streams.mu.Unlock()
	}
	if far.Addr().Is4() && b.IsV6Only(ino, fd) {
		return far, unix.ENETUNREACH
	}
	return far, ok
}

// anew forgets what a socket had that a new one has the inode of.
func (s *streams) anew(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var st unix.Stat_t
	if len(s.v6only) > 0 && unix.Fstat(fd, &st) == nil {
		delete(s.v6only, st.Ino)
	}
}
