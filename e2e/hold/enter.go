package hold

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// steps are the system calls that are held: what changes something outside of a
// process, or tells another one something.
var steps = []uint32{
	unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_EXECVE, unix.SYS_EXIT_GROUP,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_SETNS, unix.SYS_UNSHARE,
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_BIND, unix.SYS_CONNECT,
	unix.SYS_SENDMSG, unix.SYS_WRITE, unix.SYS_FLOCK, unix.SYS_WAIT4, unix.SYS_KILL,
	unix.SYS_PRCTL, unix.SYS_CAPSET, unix.SYS_SECCOMP, unix.SYS_SETPGID, unix.SYS_SETSID,
	unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_PIDFD_OPEN, unix.SYS_MKDIRAT,
}

// listener is the number at which a process keeps the filter's listener until
// it executes the program; [Watch] takes it from there.
const listener = 100

// flagWaitKillable is SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV of linux/seccomp.h,
// Linux 5.19: only what kills a process ends its wait. Go's own signals would.
const flagWaitKillable = 1 << 5

// Enter puts the filter on the calling thread and executes argv. It returns only
// if it could not.
func Enter(argv []string) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	filter := program()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|flagWaitKillable, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if err := unix.Dup3(int(fd), listener, unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("dup3", err)
	}
	unix.Close(int(fd))
	return fmt.Errorf("%s: %w", argv[0], syscall.Exec(argv[0], argv, os.Environ()))
}

// program is the filter: the steps of this architecture wait, the rest passes.
func program() []unix.SockFilter {
	const nr, arch = 0, 4 // offsets in struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	give := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	native := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	p := []unix.SockFilter{
		load(arch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: native, Jt: 1}, give(unix.SECCOMP_RET_ALLOW), load(nr),
	}
	for i, s := range steps {
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: s, Jt: uint8(len(steps) - i)})
	}
	return append(p, give(unix.SECCOMP_RET_ALLOW), give(unix.SECCOMP_RET_USER_NOTIF))
}
