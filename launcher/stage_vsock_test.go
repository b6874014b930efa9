package launcher

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// runFilter is a slow interpreter of the few instructions that the filter uses.
func runFilter(t *testing.T, prog []unix.SockFilter, nr, arch uint32, arg0 uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[0:], nr)
	binary.LittleEndian.PutUint32(data[4:], arch)
	binary.LittleEndian.PutUint64(data[16:], arg0)
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += branch(acc == in.K, in)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += branch(acc >= in.K, in)
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Code)
		}
	}
	t.Fatal("ran off the end of the filter")
	return 0
}

func branch(yes bool, in unix.SockFilter) int {
	if yes {
		return int(in.Jt)
	}
	return int(in.Jf)
}

func TestFilterForbidsVsockByEveryABI(t *testing.T) {
	const (
		noFamily = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
		noCall   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		ok       = uint32(unix.SECCOMP_RET_ALLOW)
	)
	tests := []struct {
		name     string
		goarch   string
		exists   bool
		nr, arch uint32
		arg0     uint64
		want     uint32
	}{
		{"amd64 vsock", "amd64", false, 41, unix.AUDIT_ARCH_X86_64, 40, noFamily},
		{"the kernel looks at the low half of the family", "amd64", false, 41, unix.AUDIT_ARCH_X86_64, 1<<32 | 40, noFamily},
		{"amd64 inet", "amd64", true, 41, unix.AUDIT_ARCH_X86_64, unix.AF_INET, ok},
		{"amd64 another call with 40", "amd64", true, 42, unix.AUDIT_ARCH_X86_64, 40, ok},
		{"x32 socket", "amd64", false, x32Bit | 41, unix.AUDIT_ARCH_X86_64, 40, noCall},
		{"x32 anything", "amd64", false, x32Bit | 1, unix.AUDIT_ARCH_X86_64, 0, noCall},
		{"i386 socket", "amd64", false, 359, unix.AUDIT_ARCH_I386, 40, noFamily},
		{"i386 socket of another family", "amd64", true, 359, unix.AUDIT_ARCH_I386, unix.AF_INET, ok},
		{"i386 call 41 is not socket", "amd64", true, 41, unix.AUDIT_ARCH_I386, 40, ok},
		{"i386 socketcall where vsock exists", "amd64", true, 102, unix.AUDIT_ARCH_I386, 1, noFamily},
		{"i386 socketcall connect", "amd64", true, 102, unix.AUDIT_ARCH_I386, 3, ok},
		{"i386 socketcall where it does not", "amd64", false, 102, unix.AUDIT_ARCH_I386, 1, ok},
		{"io_uring where vsock exists", "amd64", true, 425, unix.AUDIT_ARCH_X86_64, 8, noCall},
		{"io_uring of i386", "amd64", true, 425, unix.AUDIT_ARCH_I386, 8, noCall},
		{"io_uring where it does not", "amd64", false, 425, unix.AUDIT_ARCH_X86_64, 8, ok},
		{"arm64 vsock", "arm64", false, 198, unix.AUDIT_ARCH_AARCH64, 40, noFamily},
		{"arm vsock on arm64", "arm64", false, 281, unix.AUDIT_ARCH_ARM, 40, noFamily},
		{"riscv64 vsock", "riscv64", false, 198, unix.AUDIT_ARCH_RISCV64, 40, noFamily},
		{"386 vsock", "386", false, 359, unix.AUDIT_ARCH_I386, 40, noFamily},
	}
	for _, tt := range tests {
		if got := runFilter(t, vsockFilter(tt.goarch, tt.exists), tt.nr, tt.arch, tt.arg0); got != tt.want {
			t.Errorf("%s: got %#x, want %#x", tt.name, got, tt.want)
		}
	}
}
