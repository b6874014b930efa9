package launcher

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Some ways out of the namespaces are system calls that know nothing of them. A
// seccomp filter, on this thread and all that it becomes, refuses them:
//
//   - socket(2) of AF_VSOCK, the channel between a virtual machine and its host,
//     of AF_QIPCRTR, that to a phone's modem, and of AF_ISDN: EAFNOSUPPORT
//   - request_key(2) with a callout: the kernel would start a helper in the
//     namespaces of the host, which for the type dns_resolver asks a name there:
//     ENOKEY, as where there is no helper
//   - ioctl(2) TIOCSTI and TIOCLINUX, by which a program types into its terminal,
//     and so into the shell that it was started from: EIO, as recent kernels say
//     themselves (dev.tty.legacy_tiocsti)
//   - ioctl(2) VHOST_VSOCK_SET_GUEST_CID, by which a process becomes a guest of
//     this machine's and so talks to what listens on its AF_VSOCK: EAFNOSUPPORT.
//     The device may be open to the user, as /dev/kvm is, or have any name
//
// Where one of those families exists at this moment, two further ways to it are
// closed that a filter cannot look into: io_uring (ENOSYS, programs fall back) and
// the socketcall(2) of 32-bit x86 programs. x32 has its own numbers and is refused
// altogether: hardly a kernel has it.
//
// The filter needs CAP_SYS_ADMIN in our user namespace instead of no_new_privs,
// so that file capabilities go on to work.
func installFilter() error {
	filter := filterFor(runtime.GOARCH, anyFamily(unix.Socket))
	if filter == nil {
		return fmt.Errorf("no filter is known for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	_, err := setFilter(filter, 0)
	return err
}

// withoutNamespaces are the families of sockets that know no network namespaces and
// are open to everybody.
var withoutNamespaces = []uint32{unix.AF_VSOCK, afQIPCRTR, unix.AF_ISDN}

// anyFamily reports whether this kernel makes sockets of one of them now, or may:
// only EAFNOSUPPORT says that there is no such family. Another error (EMFILE, a
// type that the family does not have) is that of a family that there is.
func anyFamily(socket func(domain, kind, protocol int) (int, error)) bool {
	for _, family := range withoutNamespaces {
		fd, err := socket(int(family), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		if err != unix.EAFNOSUPPORT {
			return true
		}
	}
	return false
}

// An abi is one way of making system calls, with its numbers.
type abi struct {
	arch       uint32 // AUDIT_ARCH_…
	socket     uint32
	requestKey uint32
	ioctl      uint32
	socketcall uint32 // 0: there is none
	x32        bool   // the numbers from x32Bit on are another ABI's
}

var (
	abiX86    = abi{arch: unix.AUDIT_ARCH_X86_64, socket: 41, requestKey: 249, ioctl: 16, x32: true}
	abiI386   = abi{arch: unix.AUDIT_ARCH_I386, socket: 359, requestKey: 287, ioctl: 54, socketcall: 102}
	abiARM64  = abi{arch: unix.AUDIT_ARCH_AARCH64, socket: 198, requestKey: 218, ioctl: 29}
	abiARM    = abi{arch: unix.AUDIT_ARCH_ARM, socket: 281, requestKey: 310, ioctl: 54}
	abiRISCV  = abi{arch: unix.AUDIT_ARCH_RISCV64, socket: 198, requestKey: 218, ioctl: 29}
	abisByCPU = map[string][]abi{
		"amd64": {abiX86, abiI386}, "arm64": {abiARM64, abiARM}, "riscv64": {abiRISCV}, "386": {abiI386}, "arm": {abiARM},
	}
)

const (
	x32Bit         = 0x40000000
	ioUringSetup   = 425 // the same number everywhere
	socketcallMake = 1   // SYS_SOCKET of socketcall(2)
	afQIPCRTR      = 42
	tiocLinux      = 0x541c
	vhostGuestCID  = 0x4008af60 // linux/vhost.h
)

// filterFor returns the program for a machine, nil for one that is not known.
// families adds the closings that cost something.
func filterFor(goarch string, families bool) []unix.SockFilter {
	var prog []unix.SockFilter
	for _, a := range abisByCPU[goarch] {
		rules := a.rules(families)
		prog = append(prog, load(dataArch), jump(unix.BPF_JEQ, a.arch, 0, uint8(len(rules))))
		prog = append(prog, rules...)
	}
	if prog == nil {
		return nil
	}
	return append(prog, ret(unix.SECCOMP_RET_ALLOW))
}

// rules returns the instructions for one ABI. They end with an allowance: an
// ABI's numbers mean nothing to the next one's rules.
func (a abi) rules(families bool) []unix.SockFilter {
	var r []unix.SockFilter
	if a.x32 {
		r = append(r, load(dataNr), jump(unix.BPF_JGE, x32Bit, 0, 1), refuse(unix.ENOSYS))
	}
	if families {
		r = append(r, load(dataNr), jump(unix.BPF_JEQ, ioUringSetup, 0, 1), refuse(unix.ENOSYS))
	}
	if families && a.socketcall != 0 {
		r = append(r, ifArg(a.socketcall, 0, []uint32{socketcallMake}, unix.EAFNOSUPPORT)...)
	}
	r = append(r, ifArg(a.socket, 0, withoutNamespaces, unix.EAFNOSUPPORT)...)
	r = append(r, ifArg(a.ioctl, 1, []uint32{unix.TIOCSTI, tiocLinux}, unix.EIO)...)
	r = append(r, ifArg(a.ioctl, 1, []uint32{vhostGuestCID}, unix.EAFNOSUPPORT)...)
	r = append(r, ifPointer(a.requestKey, 2, unix.ENOKEY)...)
	return append(r, ret(unix.SECCOMP_RET_ALLOW))
}

// ifArg refuses call nr when the low half of its argument, all that the kernel
// looks at, is one of values.
func ifArg(nr uint32, arg int, values []uint32, errno syscall.Errno) []unix.SockFilter {
	r := []unix.SockFilter{load(dataNr), jump(unix.BPF_JEQ, nr, 0, uint8(len(values)+2)), load(low(arg))}
	for i, v := range values {
		last := uint8(0)
		if i == len(values)-1 {
			last = 1 // none of them: over the refusal
		}
		r = append(r, jump(unix.BPF_JEQ, v, uint8(len(values)-1-i), last))
	}
	return append(r, refuse(errno))
}

// ifPointer refuses call nr when its argument is not a null pointer.
func ifPointer(nr uint32, arg int, errno syscall.Errno) []unix.SockFilter {
	return []unix.SockFilter{
		load(dataNr), jump(unix.BPF_JEQ, nr, 0, 5),
		load(low(arg)), jump(unix.BPF_JEQ, 0, 0, 2),
		load(low(arg) + 4), jump(unix.BPF_JEQ, 0, 1, 0),
		refuse(errno),
	}
}

// Offsets in struct seccomp_data (seccomp(2)).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// low returns the offset of an argument's low half on a little-endian machine:
// there is no other in abisByCPU.
func low(arg int) uint32 { return dataArgs + 8*uint32(arg) }

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

func refuse(errno syscall.Errno) unix.SockFilter {
	return ret(unix.SECCOMP_RET_ERRNO | uint32(errno))
}
