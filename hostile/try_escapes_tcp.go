package hostile

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Escapes of connections, and those by groups and control messages.

func tryUnspecTCP(w *World, fd int) Result {
	unix.Connect(fd, to(netip.AddrPortFrom(w.beyond(false), w.lonely()), false))
	ready(fd, unix.POLLOUT)
	return afterUnspec(unix.SizeofSockaddrInet4)(w, fd)
}

func tryBindDeviceTCP(w *World, fd int) Result {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, w.Name); err != nil {
		return no("setsockopt(SO_BINDTODEVICE)", err)
	}
	return out(w, fd)
}

func tryBindIndexTCP(w *World, fd int) Result {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, w.Link); err != nil {
		return no("setsockopt(SO_BINDTOIFINDEX)", err)
	}
	return out(w, fd)
}

func tryUnicastTCP(w *World, fd int) Result {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_UNICAST_IF, int(swap32(uint32(w.Link)))); err != nil {
		return no("setsockopt(IP_UNICAST_IF)", err)
	}
	return out(w, fd)
}

func tryStickyTCP(w *World, fd int) Result {
	if err := stick(w, fd); err != nil {
		return no("setsockopt(IPV6_PKTINFO)", err)
	}
	return out(w, fd)
}

// ownListener makes fd a listener at a port that the kernel chooses, and returns
// where it is on loopback. It is bound to no address, which it would keep.
func ownListener(fd int) (unix.Sockaddr, Result) {
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		return nil, no("bind", err)
	}
	if err := unix.Listen(fd, 4); err != nil {
		return nil, no("listen", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return nil, no("getsockname", err)
	}
	in, is := at.(*unix.SockaddrInet4)
	if !is {
		return nil, no("getsockname", unix.EAFNOSUPPORT)
	}
	in.Addr = local4.As4()
	return in, Result{}
}

func tryAccepted(w *World, fd int) Result {
	at, r := ownListener(fd)
	if r.State != "" {
		return r
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.Connect(client, at); err != nil && err != unix.EINPROGRESS {
		return no("connect", err)
	}
	if !ready(fd, unix.POLLIN) {
		return no("accept", unix.EAGAIN)
	}
	end, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK)
	if err != nil {
		return no("accept", err)
	}
	return afterUnspec(unix.SizeofSockaddrInet4)(w, end)
}

func tryListening(w *World, fd int) Result {
	if _, r := ownListener(fd); r.State != "" {
		return r
	}
	return afterUnspec(unix.SizeofSockaddrInet4)(w, fd)
}

// A membership is an option that joins a group, and its value.
type membership func(w *World) (option int, value []byte)

func reqn4(w *World) (int, []byte) { // group, address, interface: struct ip_mreqn
	group := w.group4().As4()
	return unix.IP_ADD_MEMBERSHIP, binary.NativeEndian.AppendUint32(append(group[:], 0, 0, 0, 0), uint32(w.Link))
}

func req4(w *World) (int, []byte) { // group, interface's address: struct ip_mreq
	group, host := w.group4().As4(), w.Host4.As4()
	return unix.IP_ADD_MEMBERSHIP, append(group[:], host[:]...)
}

func source4(w *World) (int, []byte) { // group, interface's address, source: struct ip_mreq_source
	group, host := w.group4().As4(), w.Host4.As4()
	return unix.IP_ADD_SOURCE_MEMBERSHIP, append(append(group[:], host[:]...), 198, 51, 100, 1)
}

func joining4(m membership) func(*World, int) Result {
	return func(w *World, fd int) Result {
		option, value := m(w)
		return joined(fd, unix.IPPROTO_IP, option, value)
	}
}

// joining joins a group by an option that is the same for both families
// (RFC 3678 §5).
func joining(v6 bool, option int) func(*World, int) Result {
	return func(w *World, fd int) Result {
		level, group, source := unix.IPPROTO_IP, w.group4(), netip.MustParseAddr("198.51.100.1")
		if v6 {
			level, group, source = unix.IPPROTO_IPV6, w.group6(), netip.MustParseAddr("2001:db8:51::9")
		}
		if option != unix.MCAST_JOIN_SOURCE_GROUP {
			source = netip.Addr{}
		}
		return joined(fd, level, option, groupRequest(w.Link, group, source))
	}
}

// groupRequest returns struct group_req or, with a source, struct group_source_req:
// the interface, then addresses as struct sockaddr_storage, aligned as words are.
func groupRequest(link int, group, source netip.Addr) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(link))
	b = append(b, make([]byte, unsafe.Sizeof(uintptr(0))-4)...)
	b = append(b, storage(group)...)
	if source.IsValid() {
		b = append(b, storage(source)...)
	}
	return b
}

func joined(fd, level, option int, value []byte) Result {
	if err := unix.SetsockoptString(fd, level, option, string(value)); err != nil {
		return no("setsockopt", err)
	}
	return stay()
}

// storage returns struct sockaddr_storage.
func storage(a netip.Addr) []byte {
	b := make([]byte, 128)
	if a.Is4() {
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		copy(b[4:], a.AsSlice())
	} else {
		binary.NativeEndian.PutUint16(b, unix.AF_INET6)
		copy(b[8:], a.AsSlice())
	}
	return b
}

// message returns one control message.
func message(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func tryRetopts(w *World, fd int) Result {
	hop := w.beyond(false).As4()
	return controlled(w, fd, false, w.targets(false), message(unix.IPPROTO_IP, unix.IP_RETOPTS, append([]byte{1, 131, 7, 4}, hop[:]...)))
}

func tryControlMark(w *World, fd int) Result {
	return controlled(w, fd, false, w.targets(false), message(unix.SOL_SOCKET, unix.SO_MARK, []byte{0x34, 0x12, 0, 0}))
}
