package hostile

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The host's loopback: services that trust whoever reaches them.
var loopbackAttempts = category("loopback", usual(own(unix.ECONNREFUSED), own(unix.ECONNREFUSED), refused(unix.EACCES)),
	&Attempt{Name: "loopback", Does: "connect to a listener of the host's on 127.0.0.1 and ::1", Control: Everybody, try: tryLoopback},
	&Attempt{Name: "loopback-mapped", Does: "the same by ::ffff:127.0.0.1", Control: Everybody, try: tryLoopbackMapped},
	&Attempt{Name: "loopback-any", Does: "connect to 0.0.0.0 and [::], which mean the same", Control: Everybody, try: tryLoopbackAny},
	&Attempt{Name: "loopback-net", Does: "connect to other addresses of 127/8", Control: Everybody, try: tryLoopbackNet},
	&Attempt{Name: "loopback-bound", Does: "connect after bind to 127.0.0.1", Control: Everybody, try: tryLoopbackBound},
	&Attempt{Name: "loopback-again", Does: "connect out and, disconnected, to loopback", Control: Everybody, try: tryLoopbackAgain},
	&Attempt{Name: "loopback-blocking", Does: "connect to it by a socket that blocks", Control: Everybody, try: tryLoopbackBlocking},
	&Attempt{Name: "loopback-tunnel", Does: "connect to the tunnel's own address, with the port of a listener of the host's",
		Expect: usual(own(unix.ECONNREFUSED), own(unix.ECONNREFUSED), refused(unix.EACCES)), try: tryLoopbackTunnel},
	&Attempt{Name: "loopback-listeners", Does: "connect to every listener on 127/8 that may be adit's own", First: true,
		Expect: usual(refused(unix.ENOENT), refused(unix.ENOENT, unix.ECONNREFUSED), refused(unix.EACCES, unix.ENOENT)), try: tryAditsListeners},
	&Attempt{Name: "loopback-self", Does: "a socket that connects to itself", Expect: usual(own(), own(unix.ECONNREFUSED, unix.EADDRINUSE, unix.EINVAL), refused(unix.EACCES)), try: trySelf},
	&Attempt{Name: "loopback-udp", Does: "a datagram to a socket of the host's on 127.0.0.1 and ::1", Control: Everybody, try: tryLoopbackUDP},
	&Attempt{Name: "loopback-udp-connected", Does: "the same, connected", Control: Everybody, try: tryLoopbackUDPConnected},
	&Attempt{Name: "loopback-udp-mapped", Does: "the same to ::ffff:127.0.0.1", Control: Everybody, try: tryLoopbackUDPMapped},
	&Attempt{Name: "loopback-udp-any", Does: "the same to 0.0.0.0, [::] and others of 127/8", Control: Everybody, try: tryLoopbackUDPAny},
	&Attempt{Name: "loopback-listen", Does: "listen by a socket that was connected before, and is not bound",
		Expect: inEach(own(unix.EADDRINUSE, unix.EACCES, unix.EINVAL, unix.EISCONN)), try: tryListenUnbound},
	&Attempt{Name: "loopback-bind", Does: "listen on the host's 127.0.0.1",
		Expect: inEach(own(unix.EADDRINUSE, unix.EACCES, unix.EINVAL)), try: tryListenHere},
)

var (
	anyV4   = netip.IPv4Unspecified()
	local4  = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	others4 = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 2}), netip.AddrFrom4([4]byte{127, 9, 8, 7}), netip.AddrFrom4([4]byte{127, 255, 255, 254})}
)

// wild returns the listener that is at every address, by those of list.
func (w *World) wild(list ...netip.Addr) (all []netip.AddrPort) {
	for _, a := range list {
		all = append(all, netip.AddrPortFrom(a, w.Wild))
	}
	return all
}

// either returns a, or b if that has sent.
func either(a, b Result) Result {
	if b.State == StateSent {
		return b
	}
	return a
}

func tryLoopback(w *World) Result {
	return either(streams(w, false, 0, w.loopbacks(), nil), streams(w, true, 0, []netip.AddrPort{w.loopback(true)}, nil))
}

func tryLoopbackMapped(w *World) Result {
	return streams(w, true, 0, mapped(w.loopbacks()), nil)
}

func tryLoopbackAny(w *World) Result {
	return either(streams(w, false, 0, w.wild(anyV4), nil), streams(w, true, 0, append(w.wild(netip.IPv6Unspecified()), mapped(w.wild(anyV4))...), nil))
}

func tryLoopbackNet(w *World) Result { return streams(w, false, 0, w.wild(others4...), nil) }

func tryLoopbackBound(w *World) Result {
	return streams(w, false, 0, w.loopbacks(), func(_ *World, fd int) Result {
		if err := unix.Bind(fd, to(netip.AddrPortFrom(local4, 0), false)); err != nil {
			return no("bind", err)
		}
		return Result{}
	})
}

func tryLoopbackAgain(w *World) Result {
	return streams(w, false, 0, w.loopbacks(), func(w *World, fd int) Result {
		unix.Connect(fd, to(netip.AddrPortFrom(w.beyond(false), w.lonely()), false))
		ready(fd, unix.POLLOUT)
		if err := unspec(fd, unix.SizeofSockaddrInet4); err != nil {
			return no("connect(AF_UNSPEC)", err)
		}
		return Result{}
	})
}

func tryLoopbackBlocking(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.Connect(fd, to(w.loopback(false), false)); err != nil {
		return no("connect", err)
	}
	say(w, fd)
	return sent()
}

// tryLoopbackTunnel connects to what is the command's own: nobody listens there.
func tryLoopbackTunnel(w *World) Result {
	r := missing("an address in the tunnel")
	for _, text := range strings.Split(w.Own, ",") {
		if a, err := netip.ParseAddr(text); err == nil {
			r = streams(w, a.Is6(), 0, []netip.AddrPort{netip.AddrPortFrom(a, w.Wild)}, nil)
		}
	}
	return r
}

// listeners returns the listening sockets of TCP in this network, by proc(5).
func listeners() (list []netip.AddrPort) {
	const listening = "0A"
	b, _ := os.ReadFile("/proc/self/net/tcp")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != listening {
			continue
		}
		var a [4]byte
		var port uint16
		if n, _ := fmt.Sscanf(f[1], "%02X%02X%02X%02X:%04X", &a[3], &a[2], &a[1], &a[0], &port); n == 5 {
			list = append(list, netip.AddrPortFrom(netip.AddrFrom4(a), port))
		}
	}
	return list
}

// tryAditsListeners leaves alone what is on 127.0.0.1, where others' services are,
// the listener of this very list, and where a resolver's stub is.
func tryAditsListeners(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	unix.Close(fd)
	r := no("find a listener", unix.ENOENT)
	for _, at := range listeners() {
		port := int(at.Port())
		if !at.Addr().IsLoopback() || at.Addr() == local4 || port == 53 || port >= int(w.Base) && port <= int(w.Base)+len(attempts) {
			continue
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return no("socket", err)
		}
		if err := unix.Connect(fd, to(at, false)); err == nil {
			say(w, fd)
			return got("connect " + at.String())
		} else if r.Errno != unix.ECONNREFUSED {
			r = no("connect "+at.String(), err)
		}
		unix.Close(fd)
	}
	return r
}

func trySelf(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	at := to(netip.AddrPortFrom(local4, w.lonely()), false)
	if err := unix.Bind(fd, at); err != nil {
		return no("bind", err)
	}
	if err := connectAndSay(w, fd, at); err != nil {
		return no("connect", err)
	}
	return ours("connect")
}

func tryLoopbackUDP(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	r := sendTo(w, fd, false, w.loopbacks())
	if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0); err == nil {
		r = either(r, sendTo(w, fd, true, []netip.AddrPort{w.loopback(true)}))
	}
	return r
}

func tryLoopbackUDPConnected(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.Connect(fd, to(w.loopback(false), false)); err != nil {
		return no("connect", err)
	}
	for range 2 { // an answer to the first one may be that nobody is there
		if _, err := unix.Write(fd, []byte(w.canary())); err != nil {
			return no("send", err)
		}
	}
	return sent()
}

func tryLoopbackUDPMapped(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	return sendTo(w, fd, true, mapped(w.loopbacks()))
}

func tryLoopbackUDPAny(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	r := sendTo(w, fd, false, w.wild(append(others4, anyV4)...))
	if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0); err == nil {
		r = either(r, sendTo(w, fd, true, append(w.wild(netip.IPv6Unspecified()), mapped(w.wild(anyV4))...)))
	}
	return r
}

// tryListenUnbound has a port by its connection, which stays when that is gone.
func tryListenUnbound(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return no("socket", err)
	}
	unix.Connect(fd, to(w.elsewhere(), false))
	if err := unspec(fd, unix.SizeofSockaddrInet4); err != nil {
		return no("connect(AF_UNSPEC)", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return no("listen", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return no("getsockname", err)
	}
	if in, is := at.(*unix.SockaddrInet4); is {
		for _, a := range []netip.Addr{anyV4, local4} {
			if r := listensAt(w, netip.AddrPortFrom(a, uint16(in.Port))); r.State != "" {
				return r
			}
		}
	}
	return ours("listen")
}

// tryListenHere listens where the host's programs would find it: what they connect to
// would come here. The command's own 127.0.0.1 is another one.
func tryListenHere(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, to(netip.AddrPortFrom(local4, w.lonely()), false)); err != nil {
		return no("bind", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return no("listen", err)
	}
	if r := listensAt(w, netip.AddrPortFrom(local4, w.lonely())); r.State != "" {
		return r
	}
	return ours("listen")
}
