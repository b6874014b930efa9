package launcher

import (
	"testing"

	"golang.org/x/sys/unix"
)

const allowed = uint32(unix.SECCOMP_RET_ALLOW)

func TestNotifyFilterDecidesByRegisters(t *testing.T) {
	x86, i386, arm64 := uint32(unix.AUDIT_ARCH_X86_64), uint32(unix.AUDIT_ARCH_I386), uint32(unix.AUDIT_ARCH_AARCH64)
	const pointer = 0x7f0000000000 // its low half is 0
	for _, tt := range []struct {
		name     string
		nr, arch uint32
		args     []uint64
		want     uint32
	}{
		{"a unix socket", 41, x86, []uint64{unix.AF_UNIX, 1, 0}, allowed},
		{"netlink", 41, x86, []uint64{unix.AF_NETLINK, 3, 0}, allowed},
		{"inet", 41, x86, []uint64{unix.AF_INET, 1, 0}, notify},
		{"inet, as the kernel reads it", 41, x86, []uint64{1<<32 | unix.AF_INET, 1, 0}, notify},
		{"inet6", 41, x86, []uint64{unix.AF_INET6, 2, 0}, notify},
		{"packet", 41, x86, []uint64{unix.AF_PACKET, 3, 0}, no(unix.EAFNOSUPPORT)},
		{"vsock", 41, x86, []uint64{unix.AF_VSOCK, 1, 0}, no(unix.EAFNOSUPPORT)},
		{"xdp", 41, x86, []uint64{unix.AF_XDP, 3, 0}, no(unix.EAFNOSUPPORT)},
		{"smc", 41, x86, []uint64{43, 1, 0}, no(unix.EAFNOSUPPORT)},
		{"a pair", 53, x86, []uint64{unix.AF_UNIX, 1, 0}, allowed},
		{"a pair of TIPC", 53, x86, []uint64{unix.AF_TIPC, 1, 0}, no(unix.EOPNOTSUPP)},
		{"connect", 42, x86, []uint64{3, pointer, 16}, notify},
		{"connect to nothing", 42, x86, nil, notify},
		{"bind", 49, x86, []uint64{3, pointer, 16}, notify},
		{"listen", 50, x86, []uint64{3, 5}, notify},
		{"accept", 43, x86, []uint64{3, 0, 0}, allowed},
		{"accept with an address", 43, x86, []uint64{3, pointer, pointer}, notify},
		{"accept4 with an address", 288, x86, []uint64{3, pointer, pointer, 0}, notify},
		{"sendto", 44, x86, []uint64{3, pointer, 5, 0, 0, 0}, allowed},
		{"sendto with an address", 44, x86, []uint64{3, pointer, 5, 0, pointer, 16}, notify},
		{"sendto that connects", 44, x86, []uint64{3, pointer, 5, unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL, 0, 0}, notify},
		{"recvfrom", 45, x86, []uint64{3, pointer, 5, 0, 0, 0}, allowed},
		{"recvfrom with an address", 45, x86, []uint64{3, pointer, 5, 0, pointer, pointer}, notify},
		{"sendmsg", 46, x86, []uint64{3, pointer, 0}, notify},
		{"recvmsg", 47, x86, []uint64{3, pointer, 0}, notify},
		{"sendmmsg", 307, x86, []uint64{3, pointer, 1, 0}, notify},
		{"recvmmsg", 299, x86, []uint64{3, pointer, 1, 0, 0}, notify},
		{"read", 0, x86, []uint64{3, pointer, 5}, allowed},
		{"close", 3, x86, []uint64{3}, allowed},
		{"TCP_NODELAY", 54, x86, []uint64{3, unix.IPPROTO_TCP, unix.TCP_NODELAY}, allowed},
		{"TCP_FASTOPEN_CONNECT", 54, x86, []uint64{3, unix.IPPROTO_TCP, 30}, no(unix.EOPNOTSUPP)},
		{"TCP_REPAIR", 54, x86, []uint64{3, unix.IPPROTO_TCP, unix.TCP_REPAIR}, no(unix.EPERM)},
		{"TCP_ULP", 54, x86, []uint64{3, unix.IPPROTO_TCP, unix.TCP_ULP}, no(unix.ENOENT)},
		{"SO_REUSEPORT", 54, x86, []uint64{3, unix.SOL_SOCKET, unix.SO_REUSEPORT}, notify},
		{"SO_REUSEADDR", 54, x86, []uint64{3, unix.SOL_SOCKET, unix.SO_REUSEADDR}, allowed},
		{"IP_PKTINFO", 54, x86, []uint64{3, unix.SOL_IP, unix.IP_PKTINFO}, notify},
		{"IPV6_V6ONLY", 54, x86, []uint64{3, unix.SOL_IPV6, unix.IPV6_V6ONLY}, notify},
		{"UDP_SEGMENT", 54, x86, []uint64{3, unix.IPPROTO_UDP, 103}, notify},
		{"SO_ERROR", 55, x86, []uint64{3, unix.SOL_SOCKET, unix.SO_ERROR}, notify},
		{"SO_DOMAIN", 55, x86, []uint64{3, unix.SOL_SOCKET, unix.SO_DOMAIN}, notify},
		{"SO_RCVBUF", 55, x86, []uint64{3, unix.SOL_SOCKET, unix.SO_RCVBUF}, allowed},
		{"TCP_INFO", 55, x86, []uint64{3, unix.IPPROTO_TCP, unix.TCP_INFO}, allowed},
		{"TUNSETIFF", 16, x86, []uint64{3, 0x400454ca, pointer}, no(unix.EPERM)},
		{"TUNSETIFF, as the kernel reads it", 16, x86, []uint64{3, 1<<32 | 0x400454ca, pointer}, no(unix.EPERM)},
		{"FIONREAD", 16, x86, []uint64{3, 0x541b, pointer}, allowed},
		{"32 bits: TUNSETIFF", 54, i386, []uint64{3, 0x400454ca}, no(unix.EPERM)},
		{"32 bits: another ioctl", 54, i386, []uint64{3, 0x541b}, allowed},
		{"io_uring", 425, x86, nil, no(unix.ENOSYS)},
		{"io_uring_enter", 426, x86, nil, no(unix.ENOSYS)},
		{"io_uring_register", 427, x86, nil, no(unix.ENOSYS)},
		{"pidfd_getfd", 438, x86, nil, no(unix.EPERM)},
		{"x32", x32Bit | 41, x86, []uint64{unix.AF_INET}, no(unix.ENOSYS)},
		{"x32, anything", x32Bit | 512, x86, nil, no(unix.ENOSYS)},
		{"32 bits: socketcall", 102, i386, []uint64{1}, no(unix.EPERM)},
		{"32 bits: socket", 359, i386, []uint64{unix.AF_INET}, no(unix.EPERM)},
		{"32 bits: connect", 362, i386, nil, no(unix.EPERM)},
		{"32 bits: sendmmsg", 345, i386, nil, no(unix.EPERM)},
		{"32 bits: recvmmsg_time64", 417, i386, nil, no(unix.EPERM)},
		{"32 bits: io_uring", 425, i386, nil, no(unix.ENOSYS)},
		{"32 bits: pidfd_getfd", 438, i386, nil, no(unix.EPERM)},
		{"32 bits: write", 4, i386, nil, allowed},
		{"32 bits: 42 is pipe", 42, i386, nil, allowed},
		{"another ABI", 42, arm64, nil, no(unix.ENOSYS)},
	} {
		if got := decide(t, notifyFilter("amd64", false), tt.nr, tt.arch, tt.args...); got != tt.want {
			t.Errorf("%s: got %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

// Where descriptors cannot be borrowed the engine makes every socket that may be
// connected, also those of the file system.
func TestEverySocketIsTold(t *testing.T) {
	prog := notifyFilter("amd64", true)
	if got := decide(t, prog, 41, unix.AUDIT_ARCH_X86_64, unix.AF_UNIX, 1, 0); got != notify {
		t.Errorf("a unix socket: got %#x, want it to be told", got)
	}
}

// Where the numbers are the generic ones, the same is decided.
func TestNotifyFilterOfOtherMachines(t *testing.T) {
	for goarch, arch := range map[string]uint32{"arm64": unix.AUDIT_ARCH_AARCH64, "riscv64": unix.AUDIT_ARCH_RISCV64} {
		prog := notifyFilter(goarch, false)
		for _, tt := range []struct {
			name string
			nr   uint32
			args []uint64
			want uint32
		}{
			{"socket", 198, []uint64{unix.AF_INET}, notify}, {"socket of packets", 198, []uint64{unix.AF_PACKET}, no(unix.EAFNOSUPPORT)},
			{"connect", 203, nil, notify}, {"sendmsg", 211, nil, notify}, {"sendmmsg", 269, nil, notify},
			{"accept4", 242, []uint64{3, 1 << 40}, notify}, {"read", 63, nil, allowed}, {"io_uring", 425, nil, no(unix.ENOSYS)},
		} {
			if got := decide(t, prog, tt.nr, arch, tt.args...); got != tt.want {
				t.Errorf("%s: %s: got %#x, want %#x", goarch, tt.name, got, tt.want)
			}
		}
	}
	prog := notifyFilter("arm64", false)
	if got := decide(t, prog, 283, unix.AUDIT_ARCH_ARM); got != no(unix.EPERM) {
		t.Errorf("connect of a 32-bit program on arm64: got %#x, want EPERM", got)
	}
	if notifyFilter("s390x", false) != nil {
		t.Error("a filter for a machine whose numbers are not known")
	}
}

// The kernel takes no program of more than 4096 instructions (BPF_MAXINSNS), and a
// jump reaches 255.
func TestNotifyFilterFits(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64", "riscv64"} {
		prog := notifyFilter(goarch, true)
		if len(prog) > 4096 {
			t.Errorf("%s: %d instructions", goarch, len(prog))
		}
		for i, in := range prog {
			if in.Code&7 == unix.BPF_JMP && i+1+int(max(in.Jt, in.Jf)) >= len(prog) {
				t.Errorf("%s: instruction %d jumps out of the program", goarch, i)
			}
		}
	}
}
