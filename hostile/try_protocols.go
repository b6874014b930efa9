package hostile

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Sockets of the internet's families that are neither TCP nor UDP, and ways to make
// one that a filter might take for another.
var protocolAttempts = category("protocols", usual(tunnel(), tunnel(), refused(unix.EACCES)),
	&Attempt{Name: "any-protocol", Does: "every type and protocol of IPv4 that has no attempt of its own",
		Expect: usual(tunnel(unix.EPERM), refused(unix.EPERM, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EACCES), refused(unix.EACCES)), try: anyProtocol(false)},
	&Attempt{Name: "any-protocol6", Does: "the same of IPv6",
		Expect: usual(tunnel(unix.EPERM), refused(unix.EPERM, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EACCES), refused(unix.EACCES)), try: anyProtocol(true)},
	&Attempt{Name: "udp-by-number", Does: "UDP with its protocol named", Control: Everybody, try: tryNamedUDP},
	&Attempt{Name: "udp-high-bits", Does: "UDP, with bits above an int in every argument", Control: Everybody, try: tryHighUDP},
	&Attempt{Name: "raw-high-bits", Does: "a raw socket, with those", Control: Powerful,
		Expect: usual(refused(unix.EPERM), refused(unix.EPERM), refused(unix.EPERM, unix.EACCES)), try: tryHighRaw},
	&Attempt{Name: "pair-families", Does: "a pair of sockets of every family but AF_UNIX (socketpair)",
		Expect: usual(own(unix.EPERM), refused(unix.EAFNOSUPPORT, unix.EOPNOTSUPP), refused(unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EACCES)), try: tryPairs},
	&Attempt{Name: "sctp-seqpacket", Does: "SCTP, one socket for many peers", Expect: inSeccomp(refused(unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT)), try: trySCTP},
)

// anyProtocol makes sockets of every type and protocol, and sends by those that
// there are.
func anyProtocol(v6 bool) func(*World) Result {
	own := []int{unix.IPPROTO_IP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_MPTCP}
	return func(w *World) Result {
		r := missing("any")
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_RDM, unix.SOCK_SEQPACKET, unix.SOCK_DCCP} {
			for protocol := range 263 { // MPTCP's is the last
				if slices.Contains(own, protocol) {
					continue
				}
				fd, err := unix.Socket(family(v6), kind|unix.SOCK_NONBLOCK, protocol)
				if err != nil {
					if r.State != StateSent && (r.State != StateRefused || err == unix.EPERM) {
						r = no("socket", err)
					}
					continue
				}
				for _, t := range w.targets(v6) {
					unix.Sendto(fd, []byte(w.canary()), 0, to(t, v6))
				}
				unix.Close(fd)
				r = sent()
			}
		}
		return r
	}
}

func tryNamedUDP(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	if err != nil {
		return no("socket", err)
	}
	return sendTo(w, fd, false, w.targets(false))
}

// highSocket is socket(2) with a bit set in the upper half of each register.
func highSocket(family, kind, protocol uintptr) (int, error) {
	width := 32 // no constant: it would not fit where registers have 32 bits
	high := uintptr(1) << width
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, high|family, high|kind, high|protocol)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func tryHighUDP(w *World) Result {
	fd, err := highSocket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	return sendTo(w, fd, false, w.targets(false))
}

func tryHighRaw(w *World) Result {
	fd, err := highSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return no("socket", err)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error {
		return unix.Sendto(fd, w.udpPacket(t), 0, to(t, false))
	})
}

// tryPairs makes pairs: families that talk to other machines have them, too.
func tryPairs(*World) Result {
	r := noSuch("socketpair", unix.EAFNOSUPPORT)
	for f := unix.AF_UNIX + 1; f < 64; f++ {
		for kind := unix.SOCK_STREAM; kind <= unix.SOCK_SEQPACKET; kind++ {
			pair, err := unix.Socketpair(f, kind, 0)
			switch {
			case err == nil && slices.Contains(withoutNamespaces, f):
				return got("socketpair")
			case err == nil:
				unix.Close(pair[0])
				unix.Close(pair[1])
				r = ours("socketpair")
			case r.State != StateOwn && (err == unix.EACCES || err == unix.EPERM):
				r = no("socketpair", err)
			}
		}
	}
	return r
}

func trySCTP(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP)
	if err != nil {
		return noSuch("socket", err)
	}
	return sendTo(w, fd, false, w.targets(false))
}
