package hostile

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What every program does: packets by the ordinary ways to send them.
var packetAttempts = category("packets", usual(tunnel(), tunnel(), refused(unix.EACCES)),
	&Attempt{Name: "udp4", Does: "sendto by IPv4", Control: Everybody,
		try: func(w *World) Result { return datagrams(w, false, nil) }},
	&Attempt{Name: "udp6", Does: "sendto by IPv6", Control: Everybody,
		try: func(w *World) Result { return datagrams(w, true, nil) }},
	&Attempt{Name: "udp-mapped", Does: "sendto ::ffff:IPv4", Control: Everybody, try: tryMappedUDP},
	&Attempt{Name: "udp-connected", Does: "connect, then write", Control: Everybody, try: tryConnected},
	&Attempt{Name: "udp-sendmmsg", Does: "sendmmsg", Control: Everybody, try: trySendmmsg},
	&Attempt{Name: "udp-segment", Does: "one call for many datagrams (UDP_SEGMENT)", Control: Everybody, try: trySegment},
	&Attempt{Name: "udp-lite", Does: "UDP-Lite", Control: Everybody, Expect: noProtocol, try: tryUDPLite},
	&Attempt{Name: "udp-threads", Does: "eight threads at once", Control: Everybody, try: tryThreads},
	&Attempt{Name: "udp-processes", Does: "sixteen processes at once", Control: Everybody, try: tryProcesses},
	&Attempt{Name: "tcp4", Does: "connect by IPv4", Control: Everybody,
		try: func(w *World) Result { return streams(w, false, 0, w.targets(false), nil) }},
	&Attempt{Name: "tcp6", Does: "connect by IPv6", Control: Everybody,
		try: func(w *World) Result { return streams(w, true, 0, w.targets(true), nil) }},
	&Attempt{Name: "tcp-mapped", Does: "connect to ::ffff:IPv4", Control: Everybody,
		try: func(w *World) Result { return streams(w, true, 0, mapped(w.targets(false)), nil) }},
	&Attempt{Name: "mptcp", Does: "Multipath TCP", Control: Everybody, Expect: noProtocol,
		try: func(w *World) Result { return streams(w, false, unix.IPPROTO_MPTCP, w.targets(false), nil) }},
	&Attempt{Name: "sctp", Does: "SCTP", Expect: noProtocol,
		try: func(w *World) Result { return streams(w, false, unix.IPPROTO_SCTP, w.targets(false), nil) }},
	&Attempt{Name: "dccp", Does: "DCCP", Expect: inSeccomp(refused(unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT)), try: tryDCCP},
	&Attempt{Name: "ping4", Does: "an echo request without privilege", Control: Everybody, Expect: noPing,
		try: func(w *World) Result { return tryEcho(w, false) }},
	&Attempt{Name: "ping6", Does: "the same by IPv6", Control: Everybody, Expect: noPing,
		try: func(w *World) Result { return tryEcho(w, true) }},
	&Attempt{Name: "ping-program", Does: "ping(8), set-user-ID or with file capabilities", Control: Everybody, Expect: noPing, try: tryPing},
	&Attempt{Name: "splice", Does: "splice from a pipe into a socket", Control: Everybody,
		try: func(w *World) Result { return viaPipe(w, false) }},
	&Attempt{Name: "tee", Does: "tee, then splice into a socket", Control: Everybody,
		try: func(w *World) Result { return viaPipe(w, true) }},
	&Attempt{Name: "sendfile", Does: "sendfile from memory into a socket", Control: Everybody, try: trySendfile},
)

// What the modes without a namespace do not carry.
var (
	noProtocol = inSeccomp(refused(unix.EPROTONOSUPPORT))
	noPing     = Modes{}.both(refused(unix.EACCES, unix.EPERM))
)

func mapped(list []netip.AddrPort) (m []netip.AddrPort) {
	for _, a := range list {
		m = append(m, netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port()))
	}
	return m
}

func tryMappedUDP(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	return sendTo(w, fd, true, mapped(w.targets(false)))
}

// connected calls send with a UDP socket connected to each target.
func connected(w *World, send func(fd int) error) Result {
	return toEach(w.targets(false), func(t netip.AddrPort) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, to(t, false)); err != nil {
			return err
		}
		return send(fd)
	})
}

func tryConnected(w *World) Result {
	return connected(w, func(fd int) error {
		_, err := unix.Write(fd, []byte(w.canary()))
		return err
	})
}

// A mmsghdr is struct mmsghdr (sendmmsg(2)).
type mmsghdr struct {
	header unix.Msghdr
	_      uint32 // length; where words have 64 bits, padding follows
}

func trySendmmsg(w *World) Result {
	return connected(w, func(fd int) error {
		var messages [2]mmsghdr
		for i := range messages {
			text := []byte(w.canary())
			iov := &unix.Iovec{Base: &text[0]}
			iov.SetLen(len(text))
			messages[i].header = unix.Msghdr{Iov: iov}
			messages[i].header.SetIovlen(1)
		}
		_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages)), 2, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

func trySegment(w *World) Result {
	return datagrams(w, false, func(w *World, fd int) Result {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, canaryLen); err != nil {
			return noSuch("setsockopt(UDP_SEGMENT)", err)
		}
		return toEach(w.targets(false), func(t netip.AddrPort) error {
			return unix.Sendto(fd, []byte(w.canary()+w.canary()), 0, to(t, false))
		})
	})
}

func tryUDPLite(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE)
	if err != nil {
		return noSuch("socket", err)
	}
	return sendTo(w, fd, false, w.targets(false))
}

func tryThreads(w *World) Result {
	var wait sync.WaitGroup
	results := make([]Result, 8)
	for i := range results {
		mine := *w
		mine.Sent = i * 10
		wait.Go(func() {
			runtime.LockOSThread()
			results[i] = sendHere(&mine)
		})
	}
	wait.Wait()
	return results[0]
}

// tryProcesses starts this attempt again as other ones: their canaries are its
// own.
func tryProcesses(w *World) Result {
	if w.Sent > 0 {
		return sendHere(w)
	}
	var wait sync.WaitGroup
	results := make([]Result, 16)
	for i := range results {
		mine := *w
		mine.Sent = 1 + i*10
		wait.Go(func() { results[i] = again(&mine) })
	}
	wait.Wait()
	return results[0]
}

func tryDCCP(w *World) Result {
	const sockDCCP = 6
	fd, err := unix.Socket(unix.AF_INET, sockDCCP|unix.SOCK_NONBLOCK, unix.IPPROTO_DCCP)
	if err != nil {
		return noSuch("socket", err)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error { return connectAndSay(w, fd, to(t, false)) })
}

// echo returns an echo request (RFC 792, RFC 4443 §4.1) without a checksum,
// which is the kernel's for such sockets.
func (w *World) echo(v6 bool) []byte {
	kind := byte(8)
	if v6 {
		kind = 128
	}
	return append([]byte{kind, 0, 0, 0, 0, byte(w.id), 0, 1}, w.canary()...)
}

func tryEcho(w *World, v6 bool) Result {
	protocol := unix.IPPROTO_ICMP
	if v6 {
		protocol = unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family(v6), unix.SOCK_DGRAM, protocol)
	if err != nil {
		return noSuch("socket", err, unix.EACCES) // ping_group_range is the machine's choice
	}
	return toEach(w.targets(v6), func(t netip.AddrPort) error {
		return unix.Sendto(fd, w.echo(v6), 0, to(netip.AddrPortFrom(t.Addr(), 0), v6))
	})
}

func tryPing(w *World) Result {
	path, err := exec.LookPath("ping")
	if err != nil || len(w.targets(false)) == 0 {
		return missing("ping")
	}
	tail := w.tail()
	r := Result{}
	for _, t := range w.targets(false) {
		cmd := exec.Command(path, "-n", "-c", "1", "-W", "1", "-p", hex.EncodeToString(tail[:]), t.Addr().String())
		out, err := cmd.CombinedOutput()
		switch {
		case err == nil || cmd.ProcessState.ExitCode() == 1: // 1: no answer
			r = sent()
		case r.State == StateSent:
		case cmd.ProcessState == nil: // it could not be started: it has capabilities that nobody may have here
			r = no("execve", err)
		case strings.Contains(string(out), "not permitted"):
			r = no("ping", unix.EPERM)
		case strings.Contains(string(out), "ermission denied"):
			r = no("ping", unix.EACCES)
		default:
			r = no("ping", unix.ENETUNREACH)
		}
	}
	return r
}

// viaPipe moves a canary from a pipe into a connected socket, copied by tee if
// asked.
func viaPipe(w *World, copied bool) Result {
	return connected(w, func(fd int) error {
		r, out, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		out.WriteString(w.canary())
		out.Close()
		from := r
		if copied {
			r2, out2, err := os.Pipe()
			if err != nil {
				return err
			}
			defer r2.Close()
			if _, err := unix.Tee(int(r.Fd()), int(out2.Fd()), canaryLen, 0); err != nil {
				return err
			}
			out2.Close()
			from = r2
		}
		_, err = unix.Splice(int(from.Fd()), nil, fd, nil, canaryLen, 0)
		return err
	})
}

func trySendfile(w *World) Result {
	return connected(w, func(fd int) error {
		mem, err := unix.MemfdCreate("attempt", 0)
		if err != nil {
			return err
		}
		defer unix.Close(mem)
		unix.Write(mem, []byte(w.canary()))
		var offset int64
		_, err = syscall.Sendfile(fd, mem, &offset, canaryLen)
		return err
	})
}

// checksum is the internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
