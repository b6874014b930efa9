package hostile

import (
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Other families of sockets. Some of them do not know network namespaces.
var familyAttempts = category("families", usual(own(), refused(unix.EAFNOSUPPORT), refused(unix.EACCES, unix.EAFNOSUPPORT)),
	&Attempt{Name: "vsock-stream", Does: "AF_VSOCK, the line from a virtual machine to its host", Expect: noVsock, try: socketOf(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
	&Attempt{Name: "vsock-seqpacket", Does: "the same, SOCK_SEQPACKET", Expect: noVsock, try: socketOf(unix.AF_VSOCK, unix.SOCK_SEQPACKET, 0)},
	&Attempt{Name: "vsock-dgram", Does: "the same, SOCK_DGRAM", Expect: noVsock, try: socketOf(unix.AF_VSOCK, unix.SOCK_DGRAM, 0)},
	&Attempt{Name: "vsock-high-bits", Does: "the same, with bits in the register that the kernel does not look at", Expect: noVsock, try: tryHighBits},
	&Attempt{Name: "vsock-pair", Does: "a pair of AF_VSOCK (socketpair)", Expect: inEach(refused(unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EACCES)), try: tryPair},
	&Attempt{Name: "vsock-device", Does: "/dev/vsock, which tells a number", Expect: inEach(own(unix.EACCES, unix.EPERM, unix.ENXIO)), try: tryVsockDevice},
	&Attempt{Name: "vhost-vsock", Does: "be a guest of this machine's by any vhost-vsock device (VHOST_VSOCK_SET_GUEST_CID)", Expect: inEach(refused(unix.EAFNOSUPPORT)), try: tryVhost},
	&Attempt{Name: "qipcrtr", Does: "AF_QIPCRTR, the line to a modem", Expect: noVsock, try: socketOf(unix.AF_QIPCRTR, unix.SOCK_DGRAM, 0)},
	&Attempt{Name: "qipcrtr-io-uring", Does: "the same by io_uring (IORING_OP_SOCKET)", Expect: inEach(refused(unix.ENOSYS, unix.EPERM, unix.EAFNOSUPPORT)), try: tryRing(unix.AF_QIPCRTR, unix.SOCK_DGRAM)},
	&Attempt{Name: "isdn", Does: "AF_ISDN, a telephone line", Expect: noVsock, try: anyOf(unix.AF_ISDN, true)},
	&Attempt{Name: "bluetooth", Does: "AF_BLUETOOTH", Expect: inNamespace(refused(unix.EAFNOSUPPORT, unix.EPERM)), try: anyOf(unix.AF_BLUETOOTH, true)},
	&Attempt{Name: "can", Does: "AF_CAN, a vehicle's bus", try: anyOf(unix.AF_CAN, false)},
	&Attempt{Name: "kcm", Does: "AF_KCM", try: anyOf(unix.AF_KCM, false)},
	&Attempt{Name: "rds", Does: "AF_RDS", try: anyOf(unix.AF_RDS, false)},
	&Attempt{Name: "tipc", Does: "AF_TIPC", try: anyOf(unix.AF_TIPC, false)},
	&Attempt{Name: "smc", Does: "AF_SMC", Expect: inNamespace(tunnel()), try: trySMC},
	&Attempt{Name: "xdp", Does: "AF_XDP, frames past the stack", Expect: inNamespace(refused(unix.EPERM)), try: anyOf(unix.AF_XDP, false)},
	&Attempt{Name: "alg", Does: "AF_ALG: computes and sends nothing", try: anyOf(unix.AF_ALG, false)},
	&Attempt{Name: "nfc", Does: "AF_NFC", Expect: inNamespace(refused(unix.EAFNOSUPPORT, unix.EPERM)), try: anyOf(unix.AF_NFC, true)},
	&Attempt{Name: "rdma", Does: "RDMA devices, whose packets pass no namespace", Expect: inNamespace(refused(unix.ENOENT, unix.EACCES, unix.EPERM)).both(open(unix.EACCES, unix.EPERM)), try: tryRDMA},
	&Attempt{Name: "unknown-families", Does: "every family that is not named here", try: tryUnknown},
)

// noVsock is of what knows no namespaces, and is refused in each mode by its name.
var noVsock = inNamespace(refused(unix.EAFNOSUPPORT))

// withoutNamespaces are the families whose sockets are the host's, wherever they
// are made.
var withoutNamespaces = []int{unix.AF_VSOCK, unix.AF_QIPCRTR, unix.AF_ISDN, unix.AF_IUCV}

// socketOf makes a socket and sends nothing by it: what it would reach is not
// this machine.
func socketOf(family, kind, protocol int) func(*World) Result {
	return func(*World) Result {
		fd, err := unix.Socket(family, kind, protocol)
		switch {
		case err == unix.ENODEV:
			return missing("socket") // the kernel knows it and has no transport
		case err != nil:
			return no("socket", err)
		}
		unix.Close(fd)
		if slices.Contains(withoutNamespaces, family) {
			return got("socket")
		}
		return ours("socket")
	}
}

// anyOf makes a socket of the family of any type and protocol. It is the host's
// if the family knows no namespaces, and else the command's own.
func anyOf(family int, hosts bool) func(*World) Result {
	return func(*World) Result {
		r := missing("socket")
		r.Errno = unix.EAFNOSUPPORT
		for kind := unix.SOCK_STREAM; kind <= unix.SOCK_SEQPACKET; kind++ {
			for protocol := range 8 {
				fd, err := unix.Socket(family, kind, protocol)
				if err == nil {
					unix.Close(fd)
					if hosts {
						return got("socket")
					}
					return ours("socket")
				}
				if err == unix.EPERM || err == unix.EACCES {
					r = no("socket", err)
				}
			}
		}
		return r
	}
}

// tryHighBits sets bits above an int, which a filter that compares the whole
// register would take for another family. A register of 32 bits has none: there
// it asks for the family itself.
func tryHighBits(*World) Result {
	width := 32 // no constant: it would not fit there
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(1)<<width|unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if errno != 0 {
		return no("socket", errno)
	}
	unix.Close(int(fd))
	return got("socket")
}

func tryPair(*World) Result {
	pair, err := unix.Socketpair(unix.AF_VSOCK, unix.SOCK_DGRAM, 0)
	if err == nil {
		return got("socketpair")
	}
	if err == unix.ENODEV {
		return missing("socketpair")
	}
	_ = pair
	return no("socketpair", err)
}

// tryVhost makes the call by which one becomes a guest, on what is no such
// device: who may make it at all hears that.
func tryVhost(*World) Result {
	fd, err := unix.Open("/dev/vhost-vsock", unix.O_RDWR, 0)
	if err != nil {
		fd, err = unix.Open("/dev/null", unix.O_RDWR, 0)
	}
	if err != nil {
		return no("open", err)
	}
	defer unix.Close(fd)
	var cid uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), vhostVsockSetGuestCID, uintptr(unsafe.Pointer(&cid)))
	return orGot("ioctl(VHOST_VSOCK_SET_GUEST_CID)", errno)
}

// vhostVsockSetGuestCID is of linux/vhost.h. No guest has number 0.
const vhostVsockSetGuestCID = 0x4008af60

// tryVsockDevice opens the device that tells this machine's own number.
func tryVsockDevice(*World) Result {
	fd, err := unix.Open("/dev/vsock", unix.O_RDONLY, 0)
	if err != nil {
		return noSuch("open /dev/vsock", err, unix.ENOENT, unix.ENODEV)
	}
	unix.Close(fd)
	return ours("open /dev/vsock")
}

// trySMC connects: without a device for it the kernel falls back to TCP.
func trySMC(w *World) Result {
	fd, err := unix.Socket(unix.AF_SMC, unix.SOCK_STREAM, 0)
	if err != nil {
		return noSuch("socket", err)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error { return connectAndSay(w, fd, to(t, false)) })
}

func tryRDMA(*World) Result {
	for _, path := range []string{"/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0"} {
		fd, err := unix.Open(path, unix.O_RDWR, 0)
		if err == nil {
			unix.Close(fd)
			return got("open " + path)
		}
		if err != unix.ENOENT {
			return no("open "+path, err)
		}
	}
	return missing("/dev/infiniband")
}

// named are the families that have an attempt of their own, or many.
var named = []int{
	unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_VSOCK, unix.AF_QIPCRTR, unix.AF_ISDN,
	unix.AF_BLUETOOTH, unix.AF_CAN, unix.AF_KCM, unix.AF_RDS, unix.AF_TIPC, unix.AF_SMC, unix.AF_XDP, unix.AF_ALG, unix.AF_NFC,
}

func tryUnknown(w *World) Result {
	r := missing("any")
	for f := 1; f < 64; f++ {
		if slices.Contains(named, f) {
			continue
		}
		if one := anyOf(f, slices.Contains(withoutNamespaces, f))(w); one.State == StateGot || one.State == StateOwn {
			r = one
		}
	}
	return r
}
