package hostile

import (
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Races for a descriptor: what it stands for changes between look and call.

// A changeling is a descriptor that is a unix socket, one of TCP and one of UDP by
// turns.
type changeling struct {
	fd   int
	unix int
	udp  int
	tcp  atomic.Int32 // a new one when it has been used
	turn int
}

func newChangeling() (*changeling, Result) {
	c := &changeling{fd: 200}
	var err error
	if c.unix, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, no("socket", err)
	}
	if c.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, no("socket", err)
	}
	c.tcp.Store(-1)
	c.renew()
	unix.Dup3(c.unix, c.fd, 0)
	return c, Result{}
}

// renew replaces the socket of TCP.
func (c *changeling) renew() {
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0); err == nil {
		unix.Close(int(c.tcp.Swap(int32(fd))))
	}
}

// change is for against. The unix socket is there half of the time.
func (c *changeling) change(side uint64) {
	switch {
	case side == 0:
		unix.Dup3(c.unix, c.fd, 0)
	case c.turn&3 == 3:
		unix.Dup3(c.udp, c.fd, 0)
		c.turn++
	default:
		unix.Dup3(int(c.tcp.Load()), c.fd, 0)
		c.turn++
	}
}

// speak writes text by whatever is connected now, and renews what was.
func (c *changeling) speak(text []byte) {
	if n, _ := unix.Write(int(c.tcp.Load()), text); n > 0 {
		c.renew()
	}
	if n, _ := unix.Write(c.udp, text); n > 0 {
		unspec(c.udp, unix.SizeofSockaddrInet4)
	}
}

func raceDupConnect(w *World) Result {
	c, r := newChangeling()
	if c == nil {
		return r
	}
	name, text := inet4(w.loopback(false)), []byte(w.canary())
	return against(w, c.change, func() {
		unix.Syscall(unix.SYS_CONNECT, uintptr(c.fd), uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)))
		c.speak(text)
	})
}

// raceDupSend asks for a connection by what sends, each call in its turn.
func raceDupSend(w *World) Result {
	c, r := newChangeling()
	if c == nil {
		return r
	}
	m := newRaceMessage(w, w.loopback(false), nil)
	many := mmsghdr{header: m.header}
	turn := 0
	return against(w, c.change, func() {
		const flags = unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL
		switch turn++; turn % 3 {
		case 0:
			m.send(c.fd, flags)
		case 1:
			unix.Syscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&m.text[0])), uintptr(len(m.text)), flags,
				uintptr(m.name.pointer()), unix.SizeofSockaddrInet4)
		case 2:
			unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&many)), 1, flags, 0, 0)
		}
		c.speak(m.text)
	})
}

func raceDupOption(w *World) Result {
	c, r := newChangeling()
	if c == nil {
		return r
	}
	value := groupRequest(w.Link, w.group4(), netip.Addr{})
	none := []byte{0}
	r = against(w, c.change, func() {
		unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(c.fd), unix.IPPROTO_IP, unix.MCAST_JOIN_GROUP, uintptr(unsafe.Pointer(&value[0])), uintptr(len(value)), 0)
		unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(c.fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, uintptr(unsafe.Pointer(&none[0])), 1, 0)
	})
	stay()
	return r
}

// raceDupBind looks by proc(5) whether it listens now where it should not.
func raceDupBind(w *World) Result {
	c, r := newChangeling()
	if c == nil {
		return r
	}
	at := netip.AddrPortFrom(local4, w.lonely())
	name := inet4(at)
	var found Result
	turn := 0
	r = against(w, c.change, func() {
		turn++
		if found.State != "" {
			return
		}
		if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(c.fd), uintptr(unsafe.Pointer(&name[0])), uintptr(len(name))); errno == 0 {
			unix.Listen(int(c.tcp.Load()), 1)
			if turn%50 == 0 || w.Mode == "" {
				found = listensAt(w, at)
			}
			c.renew()
		}
	})
	if found.State != "" {
		return found
	}
	return r
}

// listensAt returns what it means that somebody listens there, on the host.
func listensAt(w *World, at netip.AddrPort) Result {
	if isHosts(w) {
		for _, l := range listeners() {
			if l == at {
				return got("listen at " + at.String())
			}
		}
	}
	return Result{}
}
