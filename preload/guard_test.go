package preload

import (
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// runFilter is a slow interpreter of the few instructions that the guard uses. It
// also says how many there were.
func runFilter(t *testing.T, prog []unix.SockFilter, nr, arch uint32, args [6]uint64) (verdict uint32, steps int) {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[0:], nr)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	branch := func(yes bool, in unix.SockFilter) int {
		if yes {
			return int(in.Jt)
		}
		return int(in.Jf)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		steps++
		in := prog[pc]
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_RET | unix.BPF_K:
			return in.K, steps
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += branch(acc == in.K, in)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += branch(acc >= in.K, in)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			pc += branch(acc > in.K, in)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc += branch(acc&in.K != 0, in)
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Code)
		}
	}
	t.Fatal("ran off the end of the filter")
	return 0, 0
}

func TestGuardByEveryABI(t *testing.T) {
	refused := func(errno syscall.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }
	const ok = uint32(unix.SECCOMP_RET_ALLOW)
	for goarch, abis := range abisByCPU {
		prog := Guard(goarch)
		for i, a := range abis {
			for _, tt := range []struct {
				name string
				nr   uint32
				args [6]uint64
				want uint32
			}{
				{"socket inet", a.socket, [6]uint64{unix.AF_INET}, refused(unix.EACCES)},
				{"socket inet6", a.socket, [6]uint64{unix.AF_INET6}, refused(unix.EACCES)},
				{"socket inet, by the half that counts", a.socket, [6]uint64{1<<32 | unix.AF_INET}, refused(unix.EACCES)},
				{"socket unix", a.socket, [6]uint64{unix.AF_UNIX}, ok},
				{"socket netlink", a.socket, [6]uint64{unix.AF_NETLINK}, ok},
				{"socket vsock", a.socket, [6]uint64{unix.AF_VSOCK}, refused(unix.EAFNOSUPPORT)},
				{"socket packet", a.socket, [6]uint64{unix.AF_PACKET}, refused(unix.EAFNOSUPPORT)},
				{"socket of no family", a.socket, [6]uint64{0}, refused(unix.EAFNOSUPPORT)},
				{"socketpair unix", a.socketpair, [6]uint64{unix.AF_UNIX}, ok},
				{"socketpair tipc", a.socketpair, [6]uint64{unix.AF_TIPC}, refused(unix.EOPNOTSUPP)},
				{"connect", a.connect, [6]uint64{3}, refused(unix.EACCES)},
				{"sendto", a.sendto, [6]uint64{3, 0, 0, unix.MSG_NOSIGNAL}, ok},
				{"sendto fast", a.sendto, [6]uint64{3, 0, 0, unix.MSG_NOSIGNAL | unix.MSG_FASTOPEN}, refused(unix.EOPNOTSUPP)},
				{"sendmsg", a.sendmsg, [6]uint64{3, 0, unix.MSG_DONTWAIT, unix.MSG_FASTOPEN}, ok},
				{"sendmsg fast", a.sendmsg, [6]uint64{3, 0, unix.MSG_FASTOPEN}, refused(unix.EOPNOTSUPP)},
				{"sendmmsg", a.sendmmsg, [6]uint64{3, 0, unix.MSG_FASTOPEN, 0}, ok},
				{"sendmmsg fast", a.sendmmsg, [6]uint64{3, 0, 1, unix.MSG_FASTOPEN}, refused(unix.EOPNOTSUPP)},
				{"fast connect", a.setsockopt, [6]uint64{3, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT}, refused(unix.EOPNOTSUPP)},
				{"no delay", a.setsockopt, [6]uint64{3, unix.IPPROTO_TCP, unix.TCP_NODELAY}, ok},
				{"the option's number at another level", a.setsockopt, [6]uint64{3, unix.SOL_SOCKET, unix.MCAST_JOIN_GROUP}, ok},
				{"join", a.setsockopt, [6]uint64{3, unix.IPPROTO_IP, unix.MCAST_JOIN_GROUP}, refused(unix.ENOPROTOOPT)},
				{"join a source", a.setsockopt, [6]uint64{3, unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP}, refused(unix.ENOPROTOOPT)},
				{"join by IPv6", a.setsockopt, [6]uint64{3, unix.IPPROTO_IPV6, unix.MCAST_JOIN_SOURCE_GROUP}, refused(unix.ENOPROTOOPT)},
				{"another protocol out of TCP", a.setsockopt, [6]uint64{3, unix.IPPROTO_TCP, unix.TCP_ULP}, refused(unix.ENOENT)},
				{"repair", a.setsockopt, [6]uint64{3, unix.IPPROTO_TCP, unix.TCP_REPAIR}, refused(unix.EPERM)},
				{"TTL", a.setsockopt, [6]uint64{3, unix.IPPROTO_IP, unix.IP_TTL}, ok},
				{"v6only", a.setsockopt, [6]uint64{3, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}, ok},
				{"pidfd_open", 434, [6]uint64{}, ok},
				{"io_uring_setup", 425, [6]uint64{}, refused(unix.ENOSYS)},
				{"io_uring_register", 427, [6]uint64{}, refused(unix.ENOSYS)},
				{"open_tree", 428, [6]uint64{}, ok},
				{"pidfd_getfd", 438, [6]uint64{}, refused(unix.EPERM)},
				{"read, or such", 0, [6]uint64{}, ok},
			} {
				if got, _ := runFilter(t, prog, tt.nr, a.arch, tt.args); got != tt.want {
					t.Errorf("%s, ABI %d, %s: got %#x, want %#x", goarch, i, tt.name, got, tt.want)
				}
			}
			if a.socketcall != 0 {
				if got, _ := runFilter(t, prog, a.socketcall, a.arch, [6]uint64{1}); got != refused(unix.EPERM) {
					t.Errorf("%s, ABI %d, socketcall: got %#x", goarch, i, got)
				}
			}
			if a.x32 {
				if got, _ := runFilter(t, prog, x32Bit|1, a.arch, [6]uint64{}); got != refused(unix.ENOSYS) {
					t.Errorf("%s, ABI %d, x32: got %#x", goarch, i, got)
				}
			}
		}
		if got, _ := runFilter(t, prog, 0, unix.AUDIT_ARCH_S390X, [6]uint64{}); got != refused(unix.ENOSYS) {
			t.Errorf("%s, a call by an ABI of nobody's: got %#x", goarch, got)
		}
	}
}

// Each system call of the program runs through the filter.
func TestGuardIsShortForWhatItDoesNotMind(t *testing.T) {
	for goarch, abis := range abisByCPU {
		if _, steps := runFilter(t, Guard(goarch), 1, abis[0].arch, [6]uint64{}); steps > 30 {
			t.Errorf("%s: %d instructions for a call that is none of the guard's business, want at most 30", goarch, steps)
		}
	}
}

func TestNoGuardForUnknownProcessors(t *testing.T) {
	for _, goarch := range []string{"s390x", "mips", ""} {
		if Guard(goarch) != nil {
			t.Errorf("%q has a guard", goarch)
		}
	}
}
