package preload

import (
	"syscall"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// Guard returns the seccomp filter under which the program runs, nil for a
// processor that it does not know. It asks nobody and looks into no memory, so it
// holds for static programs and for those that lose the shim as well. What it
// leaves open leads to adit or to nowhere:
//
//   - socket(2): AF_UNIX and AF_NETLINK. AF_INET and AF_INET6 are EACCES, others
//     EAFNOSUPPORT. The only inet sockets are those that adit hands out
//   - listen(2): EACCES. A TCP socket listens where adit has bound it, or not at all
//   - ioctl(2) TUNSETIFF: EPERM. A network device of the host's that belongs to the
//     user is a way out by itself
//   - socketpair(2): AF_UNIX, else EOPNOTSUPP as the kernel says of nearly all
//   - connect(2): EACCES. The family stands in memory, and resolver daemons listen
//     on unix sockets
//   - MSG_FASTOPEN and TCP_FASTOPEN_CONNECT, which connect without connect(2):
//     EOPNOTSUPP, as where it is switched off
//   - options of IP by which packets could take another way than lo, if only to
//     tell the network of a group that a TCP socket has joined: ENOPROTOOPT
//   - TCP_ULP, which makes other protocols out of TCP (SMC): ENOENT, as where there
//     is none; TCP_REPAIR, which connects without a word: EPERM
//   - io_uring: ENOSYS. Its sockets are made where no filter looks
//   - pidfd_getfd(2): EPERM. Sockets of other processes
//   - on x86, the calls of x32 (ENOSYS) and socketcall(2) (EPERM), whose arguments
//     stand in memory
//
// A call by an ABI that is not known is ENOSYS.
func Guard(goarch string) []unix.SockFilter {
	abis := abisByCPU[goarch]
	if abis == nil {
		return nil
	}
	var prog []unix.SockFilter
	for _, a := range abis {
		rules := a.rules()
		// The rules are longer than a conditional jump reaches.
		prog = append(prog, load(dataArch), jump(unix.BPF_JEQ, a.arch, 1, 0), skip(len(rules)))
		prog = append(prog, rules...)
	}
	return append(prog, refuse(unix.ENOSYS))
}

// An abi is one way of making system calls, with its numbers.
type abi struct {
	arch                        uint32 // AUDIT_ARCH_…
	socket, socketpair, connect uint32
	listen, ioctl               uint32
	sendto, sendmsg, sendmmsg   uint32
	setsockopt                  uint32
	socketcall                  uint32 // 0: there is none
	x32                         bool   // the numbers from x32Bit on are another ABI's
}

var (
	abiX86 = abi{arch: unix.AUDIT_ARCH_X86_64, socket: 41, socketpair: 53, connect: 42, listen: 50, ioctl: 16,
		sendto: 44, sendmsg: 46, sendmmsg: 307, setsockopt: 54, x32: true}
	abiI386 = abi{arch: unix.AUDIT_ARCH_I386, socket: 359, socketpair: 360, connect: 362, listen: 363, ioctl: 54,
		sendto: 369, sendmsg: 370, sendmmsg: 345, setsockopt: 366, socketcall: 102}
	abiARM64 = abi{arch: unix.AUDIT_ARCH_AARCH64, socket: 198, socketpair: 199, connect: 203, listen: 201, ioctl: 29,
		sendto: 206, sendmsg: 211, sendmmsg: 269, setsockopt: 208}
	abiARM = abi{arch: unix.AUDIT_ARCH_ARM, socket: 281, socketpair: 288, connect: 283, listen: 284, ioctl: 54,
		sendto: 290, sendmsg: 296, sendmmsg: 374, setsockopt: 294}
	abiRISCV = abi{arch: unix.AUDIT_ARCH_RISCV64, socket: 198, socketpair: 199, connect: 203, listen: 201, ioctl: 29,
		sendto: 206, sendmsg: 211, sendmmsg: 269, setsockopt: 208}
	abisByCPU = map[string][]abi{
		"amd64": {abiX86, abiI386}, "arm64": {abiARM64, abiARM}, "riscv64": {abiRISCV},
	}
)

// The same numbers everywhere.
const (
	ioUringSetup, ioUringRegister = 425, 427
	pidfdGetfd                    = 438
	tunSetIff                     = 0x400454ca // linux/if_tun.h

	x32Bit = 0x40000000
)

// rules returns the instructions for one ABI. They end with an allowance.
func (a abi) rules() []unix.SockFilter {
	var r []unix.SockFilter
	if a.x32 {
		r = append(r, load(dataNr), jump(unix.BPF_JGE, x32Bit, 0, 1), refuse(unix.ENOSYS))
	}
	r = append(r, call(a.socket,
		load(low(0)),
		jump(unix.BPF_JEQ, unix.AF_UNIX, 4, 0),
		jump(unix.BPF_JEQ, unix.AF_NETLINK, 3, 0),
		jump(unix.BPF_JEQ, unix.AF_INET, 3, 0),
		jump(unix.BPF_JEQ, unix.AF_INET6, 2, 0),
		refuse(unix.EAFNOSUPPORT), allow(), refuse(unix.EACCES))...)
	r = append(r, call(a.connect, refuse(unix.EACCES))...)
	r = append(r, call(a.listen, refuse(unix.EACCES))...)
	r = append(r, call(a.ioctl,
		load(low(1)), jump(unix.BPF_JEQ, tunSetIff, 0, 1), refuse(unix.EPERM), allow())...)
	r = append(r, call(a.socketpair,
		load(low(0)), jump(unix.BPF_JEQ, unix.AF_UNIX, 1, 0), refuse(unix.EOPNOTSUPP), allow())...)
	for _, s := range []struct {
		nr    uint32
		flags int
	}{{a.sendto, 3}, {a.sendmsg, 2}, {a.sendmmsg, 3}} {
		r = append(r, call(s.nr,
			load(low(s.flags)), jump(unix.BPF_JSET, unix.MSG_FASTOPEN, 0, 1), refuse(unix.EOPNOTSUPP), allow())...)
	}
	var options []unix.SockFilter
	options = append(options, option(unix.IPPROTO_TCP, []uint32{unix.TCP_FASTOPEN_CONNECT}, unix.EOPNOTSUPP)...)
	options = append(options, option(unix.IPPROTO_TCP, []uint32{unix.TCP_ULP}, unix.ENOENT)...)
	options = append(options, option(unix.IPPROTO_TCP, []uint32{unix.TCP_REPAIR}, unix.EPERM)...)
	options = append(options, option(unix.IPPROTO_IP, broker.UnfitIPv4, unix.ENOPROTOOPT)...)
	options = append(options, option(unix.IPPROTO_IPV6, broker.UnfitIPv6, unix.ENOPROTOOPT)...)
	r = append(r, call(a.setsockopt, append(options, allow())...)...)
	if a.socketcall != 0 {
		r = append(r, call(a.socketcall, refuse(unix.EPERM))...)
	}
	return append(r, load(dataNr),
		jump(unix.BPF_JGE, ioUringSetup, 0, 2), jump(unix.BPF_JGT, ioUringRegister, 1, 0), refuse(unix.ENOSYS),
		jump(unix.BPF_JEQ, pidfdGetfd, 0, 1), refuse(unix.EPERM),
		allow())
}

// call is body for one call.
func call(nr uint32, body ...unix.SockFilter) []unix.SockFilter {
	return append([]unix.SockFilter{load(dataNr), jump(unix.BPF_JEQ, nr, 0, uint8(len(body)))}, body...)
}

// option refuses options of a level.
func option(level uint32, names []uint32, errno syscall.Errno) []unix.SockFilter {
	r := []unix.SockFilter{load(low(1)), jump(unix.BPF_JEQ, level, 0, uint8(2+len(names))), load(low(2))}
	for i, name := range names {
		last := uint8(0)
		if i == len(names)-1 {
			last = 1 // none of them: over the refusal
		}
		r = append(r, jump(unix.BPF_JEQ, name, uint8(len(names)-1-i), last))
	}
	return append(r, refuse(errno))
}

// Offsets in struct seccomp_data (seccomp(2)).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// low returns the offset of an argument's low half, all that the kernel looks at in
// an int. All of abisByCPU is little-endian.
func low(arg int) uint32 { return dataArgs + 8*uint32(arg) }

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func skip(n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
}

func allow() unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
}

func refuse(errno syscall.Errno) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}
