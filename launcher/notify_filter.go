package launcher

import "golang.org/x/sys/unix"

// The filter of seccomp mode decides by what is in the registers alone: which
// calls the kernel may do by itself, which are refused, and which are told to the
// engine. What is told is never judged by memory and then left to the kernel where
// that could matter: see notify.go.

// socketCalls are the numbers of the calls that the filter knows.
type socketCalls struct {
	arch                        uint32 // AUDIT_ARCH_…
	socket, socketpair          uint32
	connect, bind, listen       uint32
	accept, accept4             uint32
	getsockname, getpeername    uint32
	sendto, sendmsg, sendmmsg   uint32
	recvfrom, recvmsg, recvmmsg uint32
	setsockopt, getsockopt      uint32
	ioctl, foreignIoctl         uint32
	x32                         bool     // the numbers from x32Bit on are another ABI's
	foreign                     uint32   // the AUDIT_ARCH of 32-bit programs, 0 if there is none
	foreignCalls                []uint32 // their calls that are refused
}

// The numbers that all newer architectures share (asm-generic/unistd.h).
var genericCalls = socketCalls{
	socket: 198, socketpair: 199, bind: 200, listen: 201, accept: 202, connect: 203, getsockname: 204, getpeername: 205,
	sendto: 206, recvfrom: 207, setsockopt: 208, getsockopt: 209, sendmsg: 211, recvmsg: 212, accept4: 242,
	recvmmsg: 243, sendmmsg: 269, ioctl: 29, foreignIoctl: 54,
}

// callsFor returns the numbers for a machine; ok is false for one that is not known.
func callsFor(goarch string) (c socketCalls, known bool) {
	switch goarch {
	case "amd64":
		return socketCalls{
			arch:   unix.AUDIT_ARCH_X86_64,
			socket: 41, connect: 42, accept: 43, sendto: 44, recvfrom: 45, sendmsg: 46, recvmsg: 47, bind: 49, listen: 50,
			getsockname: 51, getpeername: 52, socketpair: 53, setsockopt: 54, getsockopt: 55, accept4: 288,
			ioctl: 16, foreignIoctl: 54,
			recvmmsg: 299, sendmmsg: 307, x32: true,
			foreign: unix.AUDIT_ARCH_I386,
			// socketcall, recvmmsg, sendmmsg, and the calls that it was made of later
			foreignCalls: []uint32{102, 337, 345, 359, 360, 361, 362, 363, 364, 365, 366, 367, 368, 369, 370, 371, 372, 417},
		}, true
	case "arm64":
		c = genericCalls
		c.arch, c.foreign = unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM
		c.foreignCalls = []uint32{102, 281, 282, 283, 284, 285, 286, 287, 288, 289, 290, 291, 292, 294, 295, 296, 297, 365, 366, 374, 417}
		return c, true
	case "riscv64":
		c = genericCalls
		c.arch = unix.AUDIT_ARCH_RISCV64
		return c, true
	}
	return c, false
}

const (
	notify          = unix.SECCOMP_RET_USER_NOTIF
	tunSetIff       = 0x400454ca // linux/if_tun.h: to attach a network device of the host's
	pidfdGetfd      = 438        // the same number everywhere, as those of io_uring
	ioUringEnter    = 426
	ioUringRegister = 427
)

// notifyFilter returns the program; nil for a machine that is not known. everySocket
// tells of unix sockets, too, as they are made: where descriptors cannot be borrowed.
func notifyFilter(goarch string, everySocket bool) []unix.SockFilter {
	c, known := callsFor(goarch)
	if !known {
		return nil
	}
	prog := []unix.SockFilter{load(dataArch)}
	own := c.ownRules(everySocket)
	if c.foreign != 0 {
		rules := c.foreignRules()
		prog = append(prog, jump(unix.BPF_JEQ, c.foreign, 0, uint8(len(rules))))
		prog = append(prog, rules...)
	}
	// No other ABI is known to exist here.
	prog = append(prog, jump(unix.BPF_JEQ, c.arch, 1, 0), refuse(unix.ENOSYS))
	return append(prog, own...)
}

// foreignRules are for programs of the other word length: no sockets.
func (c *socketCalls) foreignRules() []unix.SockFilter {
	r := []unix.SockFilter{load(dataNr)}
	for _, nr := range c.foreignCalls {
		r = append(r, jump(unix.BPF_JEQ, nr, 0, 1), refuse(unix.EPERM))
	}
	for _, nr := range []uint32{ioUringSetup, ioUringEnter, ioUringRegister} {
		r = append(r, jump(unix.BPF_JEQ, nr, 0, 1), refuse(unix.ENOSYS))
	}
	tun := byArg(1, map[uint32]uint32{tunSetIff: no(unix.EPERM)}, unix.SECCOMP_RET_ALLOW)
	r = append(r, jump(unix.BPF_JEQ, c.foreignIoctl, 0, uint8(len(tun))))
	r = append(r, tun...)
	return append(r, jump(unix.BPF_JEQ, pidfdGetfd, 0, 1), refuse(unix.EPERM), ret(unix.SECCOMP_RET_ALLOW))
}

// ownRules are for the machine's own ABI.
func (c *socketCalls) ownRules(everySocket bool) []unix.SockFilter {
	r := []unix.SockFilter{load(dataNr)}
	if c.x32 {
		r = append(r, jump(unix.BPF_JGE, x32Bit, 0, 1), refuse(unix.ENOSYS))
	}
	unixSocket := uint32(unix.SECCOMP_RET_ALLOW)
	if everySocket {
		unixSocket = notify
	}
	for _, b := range []struct {
		nr    uint32
		rules []unix.SockFilter
	}{
		{c.socket, byArg(0, map[uint32]uint32{
			unix.AF_UNIX: unixSocket, unix.AF_NETLINK: unix.SECCOMP_RET_ALLOW,
			unix.AF_INET: notify, unix.AF_INET6: notify,
		}, no(unix.EAFNOSUPPORT))},
		{c.socketpair, byArg(0, map[uint32]uint32{unix.AF_UNIX: unix.SECCOMP_RET_ALLOW}, no(unix.EOPNOTSUPP))},
		{c.connect, always(notify)}, {c.bind, always(notify)}, {c.listen, always(notify)},
		{c.accept, ifAddress(1)}, {c.accept4, ifAddress(1)},
		{c.getsockname, always(notify)}, {c.getpeername, always(notify)},
		{c.sendto, append(ifFlag(3, unix.MSG_FASTOPEN), ifAddress(4)...)}, {c.recvfrom, ifAddress(4)},
		{c.sendmsg, always(notify)}, {c.recvmsg, always(notify)},
		{c.sendmmsg, always(notify)}, {c.recvmmsg, always(notify)},
		{c.setsockopt, setRules()}, {c.getsockopt, getRules()},
		{c.ioctl, byArg(1, map[uint32]uint32{tunSetIff: no(unix.EPERM)}, unix.SECCOMP_RET_ALLOW)},
		{ioUringSetup, always(no(unix.ENOSYS))}, {ioUringEnter, always(no(unix.ENOSYS))}, {ioUringRegister, always(no(unix.ENOSYS))},
		{pidfdGetfd, always(no(unix.EPERM))},
	} {
		r = append(r, jump(unix.BPF_JEQ, b.nr, 0, uint8(len(b.rules))))
		r = append(r, b.rules...)
	}
	return append(r, ret(unix.SECCOMP_RET_ALLOW))
}

func no(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

func always(action uint32) []unix.SockFilter { return []unix.SockFilter{ret(action)} }

// byArg decides by the low half of an argument, all that the kernel looks at.
func byArg(arg int, actions map[uint32]uint32, otherwise uint32) []unix.SockFilter {
	r := []unix.SockFilter{load(low(arg))}
	for value, action := range actions {
		r = append(r, jump(unix.BPF_JEQ, value, 0, 1), ret(action))
	}
	return append(r, ret(otherwise))
}

// ifAddress tells of a call whose pointer, an argument, is not null.
func ifAddress(arg int) []unix.SockFilter {
	return []unix.SockFilter{
		load(low(arg)), jump(unix.BPF_JEQ, 0, 0, 2),
		load(low(arg) + 4), jump(unix.BPF_JEQ, 0, 1, 0),
		ret(notify), ret(unix.SECCOMP_RET_ALLOW),
	}
}

// ifFlag tells of a call with a flag in an argument.
func ifFlag(arg int, flag uint32) []unix.SockFilter {
	return []unix.SockFilter{load(low(arg)), jump(unix.BPF_JSET, flag, 0, 1), ret(notify)}
}

// tcpFastopenConnect is TCP_FASTOPEN_CONNECT of linux/tcp.h: the kernel would connect
// with the first bytes. TCP_REPAIR makes connections out of nothing, TCP_ULP other
// protocols out of TCP, whose packets need not go by lo (SMC).
const tcpFastopenConnect = 30

// setRules are those of setsockopt: what is of IP and UDP is told, and what only
// sockets of IP have.
func setRules() []unix.SockFilter {
	tcp := []unix.SockFilter{
		load(low(2)),
		jump(unix.BPF_JEQ, tcpFastopenConnect, 0, 1), refuse(unix.EOPNOTSUPP),
		jump(unix.BPF_JEQ, unix.TCP_REPAIR, 0, 1), refuse(unix.EPERM),
		jump(unix.BPF_JEQ, unix.TCP_ULP, 0, 1), refuse(unix.ENOENT),
		ret(unix.SECCOMP_RET_ALLOW),
	}
	socket := byArg(2, map[uint32]uint32{unix.SO_REUSEPORT: notify}, unix.SECCOMP_RET_ALLOW)
	r := []unix.SockFilter{load(low(1)), jump(unix.BPF_JEQ, unix.IPPROTO_TCP, 0, uint8(len(tcp)))}
	r = append(r, tcp...)
	r = append(r, jump(unix.BPF_JEQ, unix.SOL_SOCKET, 0, uint8(len(socket))))
	r = append(r, socket...)
	return append(r, byArg(1, levels, unix.SECCOMP_RET_ALLOW)...)
}

// levels are those of the options that are told.
var levels = map[uint32]uint32{unix.SOL_IP: notify, unix.SOL_IPV6: notify, unix.IPPROTO_UDP: notify}

// getRules are those of getsockopt: besides these, what tells a socket of ours from
// what it is taken for.
func getRules() []unix.SockFilter {
	socket := byArg(2, map[uint32]uint32{
		unix.SO_ERROR: notify, unix.SO_TYPE: notify, unix.SO_DOMAIN: notify, unix.SO_PROTOCOL: notify,
		unix.SO_BINDTODEVICE: notify, unix.SO_BINDTOIFINDEX: notify, unix.SO_REUSEPORT: notify,
	}, unix.SECCOMP_RET_ALLOW)
	r := []unix.SockFilter{load(low(1)), jump(unix.BPF_JEQ, unix.SOL_SOCKET, 0, uint8(len(socket)))}
	r = append(r, socket...)
	return append(r, byArg(1, levels, unix.SECCOMP_RET_ALLOW)...)
}
