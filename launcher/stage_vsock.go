package launcher

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AF_VSOCK, the channel between a virtual machine and its host, knows no network
// namespaces: it is a way out. forbidVsock makes socket(2) answer EAFNOSUPPORT
// for it, on this thread and all that it becomes. The filter needs
// CAP_SYS_ADMIN in our user namespace instead of no_new_privs, so that file
// capabilities go on to work.
//
// Where AF_VSOCK exists at this moment, two further ways to it are closed that a
// filter cannot look into: io_uring (ENOSYS, programs fall back) and the
// socketcall of 32-bit x86 programs. x32 has its own numbers and is refused
// altogether: hardly a kernel has it.
func forbidVsock() error {
	exists := vsockExists()
	filter := vsockFilter(runtime.GOARCH, exists)
	if filter == nil {
		if exists {
			return fmt.Errorf("no filter is known for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
		}
		return nil
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if (errno == unix.ENOSYS || errno == unix.EINVAL) && !exists { // no seccomp, and no need
		return nil
	}
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// vsockExists reports whether this kernel makes AF_VSOCK sockets now.
func vsockExists() bool {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// Offsets in struct seccomp_data (seccomp(2)), and numbers of the 32-bit x86
// system calls, which x/sys/unix has only on that architecture.
const (
	dataNr   = 0
	dataArch = 4
	dataArg0 = 16 // its low half, on little-endian machines

	x32Bit         = 0x40000000
	i386Socketcall = 102
	i386Socket     = 359
	armSocket      = 281
	ioUringSetup   = 425 // the same number everywhere
	socketcallMake = 1   // SYS_SOCKET of socketcall(2)
)

// vsockFilter returns the program for an architecture, nil for one that is not
// known. exists adds the two closings that cost something.
func vsockFilter(goarch string, exists bool) []unix.SockFilter {
	switch goarch {
	case "amd64":
		native := sectionFor(unix.AUDIT_ARCH_X86_64, 41, exists, refuseX32)
		return append(append(native, sectionFor(unix.AUDIT_ARCH_I386, i386Socket, exists, refuseSocketcall(exists))...), allow)
	case "arm64":
		native := sectionFor(unix.AUDIT_ARCH_AARCH64, 198, exists, nil)
		return append(append(native, sectionFor(unix.AUDIT_ARCH_ARM, armSocket, exists, nil)...), allow)
	case "riscv64":
		return append(sectionFor(unix.AUDIT_ARCH_RISCV64, 198, exists, nil), allow)
	case "386":
		return append(sectionFor(unix.AUDIT_ARCH_I386, i386Socket, exists, refuseSocketcall(exists)), allow)
	}
	return nil
}

var (
	allow     = ret(unix.SECCOMP_RET_ALLOW)
	refuseX32 = []unix.SockFilter{
		load(dataNr),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}
)

func refuseSocketcall(exists bool) []unix.SockFilter {
	if !exists {
		return nil
	}
	return []unix.SockFilter{
		load(dataNr),
		jump(unix.BPF_JEQ, i386Socketcall, 0, 3),
		load(dataArg0),
		jump(unix.BPF_JEQ, socketcallMake, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)),
	}
}

// sectionFor returns the rules for one architecture; of another, the calls pass
// over them. extra comes first, and goes on behind itself.
func sectionFor(arch, socket uint32, exists bool, extra []unix.SockFilter) []unix.SockFilter {
	rules := append([]unix.SockFilter(nil), extra...)
	if exists {
		rules = append(rules, load(dataNr), jump(unix.BPF_JEQ, ioUringSetup, 0, 1),
			ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	rules = append(rules, load(dataNr), jump(unix.BPF_JEQ, socket, 0, 3),
		load(dataArg0), jump(unix.BPF_JEQ, unix.AF_VSOCK, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EAFNOSUPPORT)), allow)
	head := []unix.SockFilter{load(dataArch), jump(unix.BPF_JEQ, arch, 0, uint8(len(rules)))}
	return append(head, rules...)
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}
