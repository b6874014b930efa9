package main

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// installFilters installs what the options ask for, on this thread. Without
// no_new_privs that needs root, as it is an engine of containers that does it.
func installFilters() error {
	if *docker {
		if _, err := install(dockerFilter(), 0); err != nil {
			return fmt.Errorf("like Docker's: %w", err)
		}
	}
	if *listener {
		// Of a call that nobody makes. The descriptor is never closed.
		if _, err := install([]unix.SockFilter{load(0), jump(unix.SYS_SWAPOFF, 0, 1), ret(unix.SECCOMP_RET_USER_NOTIF)},
			unix.SECCOMP_FILTER_FLAG_NEW_LISTENER); err != nil {
			return fmt.Errorf("with a listener: %w", err)
		}
	}
	var rules []unix.SockFilter
	if *apparmor {
		// In its namespaces, in which it would have all capabilities, and outside of
		// them, where nobody will miss it.
		rules = refused(unix.SYS_MOUNT, unix.EACCES)
	}
	for _, name := range listed(*refuse) {
		nr, ok := refusable[name]
		if !ok {
			return fmt.Errorf("%q is not a call that can be refused", name)
		}
		rules = append(rules, refused(nr, unix.EPERM)...)
	}
	if rules == nil {
		return nil
	}
	_, err := install(rules, 0)
	return err
}

// refusable are the calls that -refuse knows.
var refusable = map[string]uint32{
	"seccomp": unix.SYS_SECCOMP, "mount": unix.SYS_MOUNT, "process_vm_readv": unix.SYS_PROCESS_VM_READV, "process_vm_writev": unix.SYS_PROCESS_VM_WRITEV,
	"pidfd_open": unix.SYS_PIDFD_OPEN, "pidfd_getfd": unix.SYS_PIDFD_GETFD,
}

// dockerDenied is what Docker's profile forbids those who have only the
// capabilities of a container, as far as it matters here (moby,
// profiles/seccomp/default.json).
var dockerDenied = []uint32{
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
	unix.SYS_REQUEST_KEY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SYSLOG,
}

// newNamespaces are the flags of clone(2) that Docker looks for.
const newNamespaces = 0x7e020000

func dockerFilter() []unix.SockFilter {
	var rules []unix.SockFilter
	for _, nr := range dockerDenied {
		rules = append(rules, refused(nr, unix.EPERM)...)
	}
	rules = append(rules, refused(unix.SYS_CLONE3, unix.ENOSYS)...)
	return append(rules,
		load(0), jump(unix.SYS_CLONE, 0, 3), load(argument(0)),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: newNamespaces, Jf: 1}, ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)),
		load(0), jump(unix.SYS_SOCKET, 0, 3), load(argument(0)),
		jump(unix.AF_VSOCK, 0, 1), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)),
	)
}

func refused(nr uint32, errno syscall.Errno) []unix.SockFilter {
	return []unix.SockFilter{load(0), jump(nr, 0, 1), ret(unix.SECCOMP_RET_ERRNO | uint32(errno))}
}

// argument returns the offset of the low half of an argument (seccomp(2)), on a
// little-endian machine.
func argument(n uint32) uint32 { return 16 + 8*n }

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(value uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: yes, Jf: no}
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

// install installs rules for the calls of this machine's own ABI.
func install(rules []unix.SockFilter, flags uintptr) (int, error) {
	const offsetArch = 4
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "riscv64": unix.AUDIT_ARCH_RISCV64}[runtime.GOARCH]
	if arch == 0 {
		return -1, fmt.Errorf("the calls of %s are not known", runtime.GOARCH)
	}
	filter := []unix.SockFilter{load(offsetArch), jump(arch, 1, 0), ret(unix.SECCOMP_RET_ALLOW)}
	filter = append(append(filter, rules...), ret(unix.SECCOMP_RET_ALLOW))
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
