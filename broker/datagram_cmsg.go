package broker

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A cmsg is one control message (cmsg(3)).
type cmsg struct {
	level, kind int32
	data        []byte
}

// cmsgLenSize is the size of a cmsg's length, which is the kernel's size_t. Level (4)
// and type (4) follow it, then data.
const cmsgLenSize = unix.SizeofCmsghdr - 8

// parseControl reads control messages as the kernel does when they are sent: what
// is too short for a header ends the list, and one that does not fit into it is
// EINVAL.
func parseControl(b []byte) (list []cmsg, errno syscall.Errno) {
	for len(b) >= unix.SizeofCmsghdr {
		n := uint64(binary.NativeEndian.Uint32(b))
		if cmsgLenSize == 8 {
			n = binary.NativeEndian.Uint64(b)
		}
		if n < unix.SizeofCmsghdr || n > uint64(len(b)) {
			return nil, unix.EINVAL
		}
		list = append(list, cmsg{
			level: int32(binary.NativeEndian.Uint32(b[cmsgLenSize:])),
			kind:  int32(binary.NativeEndian.Uint32(b[cmsgLenSize+4:])),
			data:  b[unix.SizeofCmsghdr:n:n],
		})
		b = b[min(len(b), unix.CmsgSpace(int(n)-unix.SizeofCmsghdr)):]
	}
	return list, ok
}

// appendCmsg appends a control message, padded for the next one.
func appendCmsg(b []byte, level, kind int32, data []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(len(data)))...)
	if cmsgLenSize == 8 {
		binary.NativeEndian.PutUint64(b[at:], uint64(unix.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(b[at:], uint32(unix.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(b[at+cmsgLenSize:], uint32(level))
	binary.NativeEndian.PutUint32(b[at+cmsgLenSize+4:], uint32(kind))
	copy(b[at+unix.SizeofCmsghdr:], data)
	return b
}

// segmentSize returns the size into which a message is to be split, by its control
// messages or, without one there, as the socket says (UDP_SEGMENT of udp(7)). 0 is
// not at all.
func segmentSize(control []byte, socket int) (int, syscall.Errno) {
	list, errno := parseControl(control)
	if errno != ok {
		return 0, errno
	}
	for _, c := range list {
		if c.level != unix.SOL_UDP {
			continue
		}
		if c.kind != unix.UDP_SEGMENT || len(c.data) != 2 {
			return 0, unix.EINVAL
		}
		socket = int(binary.NativeEndian.Uint16(c.data))
	}
	return socket, ok
}

// receivedControl returns the control messages that the program has asked for, for
// a datagram with the tag. The interface is lo: the program knows of no other one.
func (o *options) receivedControl(family int, t tag) (b []byte) {
	is4 := t.from.Addr().Is4()
	local := t.local
	if !local.IsValid() && is4 {
		local = netip.IPv4Unspecified()
	} else if !local.IsValid() {
		local = netip.IPv6Unspecified()
	}
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	if is4 && o.isOn(unix.SOL_IP, unix.IP_PKTINFO) {
		a := local.As4()
		// struct in_pktinfo: interface (4), local address (4), destination (4)
		b = appendCmsg(b, unix.SOL_IP, unix.IP_PKTINFO, append(append(number(loIndex), a[:]...), a[:]...))
	}
	if is4 && o.isOn(unix.SOL_IP, unix.IP_RECVTTL) {
		b = appendCmsg(b, unix.SOL_IP, unix.IP_TTL, number(defaultTTL))
	}
	if is4 && o.isOn(unix.SOL_IP, unix.IP_RECVTOS) {
		b = appendCmsg(b, unix.SOL_IP, unix.IP_TOS, []byte{0})
	}
	if family != unix.AF_INET6 {
		return b
	}
	if o.isOn(unix.SOL_IPV6, unix.IPV6_RECVPKTINFO) {
		a := local.As16()
		// struct in6_pktinfo: destination (16), interface (4)
		b = appendCmsg(b, unix.SOL_IPV6, unix.IPV6_PKTINFO, append(a[:], number(loIndex)...))
	}
	if !is4 && o.isOn(unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT) {
		b = appendCmsg(b, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, number(defaultTTL))
	}
	if !is4 && o.isOn(unix.SOL_IPV6, unix.IPV6_RECVTCLASS) {
		b = appendCmsg(b, unix.SOL_IPV6, unix.IPV6_TCLASS, number(0))
	}
	return b
}
