package launcher

import (
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// runFilter is a slow interpreter of the few instructions that the filter uses.
func runFilter(t *testing.T, prog []unix.SockFilter, nr, arch uint32, args [3]uint64) uint32 {
	t.Helper()
	return decide(t, prog, nr, arch, args[:]...)
}

// decide is runFilter with any number of arguments.
func decide(t *testing.T, prog []unix.SockFilter, nr, arch uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[0:], nr)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
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
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc += branch(acc&in.K != 0, in)
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

func TestFilterClosesTheWaysOutByEveryABI(t *testing.T) {
	refused := func(errno syscall.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }
	const ok = uint32(unix.SECCOMP_RET_ALLOW)
	x86, i386 := uint32(unix.AUDIT_ARCH_X86_64), uint32(unix.AUDIT_ARCH_I386)
	tests := []struct {
		name     string
		goarch   string
		vsock    bool
		nr, arch uint32
		args     [3]uint64
		want     uint32
	}{
		{"amd64 vsock", "amd64", false, 41, x86, [3]uint64{40}, refused(unix.EAFNOSUPPORT)},
		{"amd64 qipcrtr", "amd64", false, 41, x86, [3]uint64{42}, refused(unix.EAFNOSUPPORT)},
		{"amd64 isdn", "amd64", false, 41, x86, [3]uint64{34}, refused(unix.EAFNOSUPPORT)},
		{"the kernel looks at the low half of the family", "amd64", false, 41, x86, [3]uint64{1<<32 | 40}, refused(unix.EAFNOSUPPORT)},
		{"amd64 inet", "amd64", true, 41, x86, [3]uint64{unix.AF_INET}, ok},
		{"amd64 another call with 40", "amd64", true, 42, x86, [3]uint64{40}, ok},
		{"x32 socket", "amd64", false, x32Bit | 41, x86, [3]uint64{40}, refused(unix.ENOSYS)},
		{"x32 anything", "amd64", false, x32Bit | 1, x86, [3]uint64{}, refused(unix.ENOSYS)},
		{"i386 vsock", "amd64", false, 359, i386, [3]uint64{40}, refused(unix.EAFNOSUPPORT)},
		{"i386 socket of another family", "amd64", true, 359, i386, [3]uint64{unix.AF_INET}, ok},
		{"i386 call 41 is not socket", "amd64", true, 41, i386, [3]uint64{40}, ok},
		{"i386 socketcall where vsock exists", "amd64", true, 102, i386, [3]uint64{1}, refused(unix.EAFNOSUPPORT)},
		{"i386 socketcall connect", "amd64", true, 102, i386, [3]uint64{3}, ok},
		{"i386 socketcall where it does not", "amd64", false, 102, i386, [3]uint64{1}, ok},
		{"io_uring where vsock exists", "amd64", true, 425, x86, [3]uint64{8}, refused(unix.ENOSYS)},
		{"io_uring of i386", "amd64", true, 425, i386, [3]uint64{8}, refused(unix.ENOSYS)},
		{"io_uring where it does not", "amd64", false, 425, x86, [3]uint64{8}, ok},
		{"request_key with a callout", "amd64", false, 249, x86, [3]uint64{1, 2, 0x7f0000000000}, refused(unix.ENOKEY)},
		{"request_key with a low callout", "amd64", false, 249, x86, [3]uint64{1, 2, 3}, refused(unix.ENOKEY)},
		{"request_key of what there is", "amd64", false, 249, x86, [3]uint64{1, 2, 0}, ok},
		{"request_key of i386", "amd64", false, 287, i386, [3]uint64{1, 2, 3}, refused(unix.ENOKEY)},
		{"becoming a guest by vhost-vsock", "amd64", false, 16, x86, [3]uint64{3, 0x4008af60}, refused(unix.EAFNOSUPPORT)},
		{"the same of i386", "amd64", false, 54, i386, [3]uint64{3, 0x4008af60}, refused(unix.EAFNOSUPPORT)},
		{"another call of vhost", "amd64", false, 16, x86, [3]uint64{3, 0xaf01}, ok},
		{"typing into the terminal", "amd64", false, 16, x86, [3]uint64{0, 0x5412}, refused(unix.EIO)},
		{"the same with rubbish above", "amd64", false, 16, x86, [3]uint64{0, 1<<32 | 0x5412}, refused(unix.EIO)},
		{"pasting into the console", "amd64", false, 16, x86, [3]uint64{0, 0x541c}, refused(unix.EIO)},
		{"another ioctl", "amd64", true, 16, x86, [3]uint64{0x5412, 0x5413}, ok},
		{"typing, of i386", "amd64", false, 54, i386, [3]uint64{0, 0x5412}, refused(unix.EIO)},
		{"an unknown architecture has no calls here", "amd64", true, 41, unix.AUDIT_ARCH_AARCH64, [3]uint64{40}, ok},
		{"arm64 vsock", "arm64", false, 198, unix.AUDIT_ARCH_AARCH64, [3]uint64{40}, refused(unix.EAFNOSUPPORT)},
		{"arm64 request_key", "arm64", false, 218, unix.AUDIT_ARCH_AARCH64, [3]uint64{1, 2, 3}, refused(unix.ENOKEY)},
		{"arm vsock on arm64", "arm64", false, 281, unix.AUDIT_ARCH_ARM, [3]uint64{40}, refused(unix.EAFNOSUPPORT)},
		{"riscv64 vsock", "riscv64", false, 198, unix.AUDIT_ARCH_RISCV64, [3]uint64{40}, refused(unix.EAFNOSUPPORT)},
		{"386 vsock", "386", false, 359, i386, [3]uint64{40}, refused(unix.EAFNOSUPPORT)},
	}
	for _, tt := range tests {
		if got := runFilter(t, filterFor(tt.goarch, tt.vsock), tt.nr, tt.arch, tt.args); got != tt.want {
			t.Errorf("%s: got %#x, want %#x", tt.name, got, tt.want)
		}
	}
	if filterFor("mips", true) != nil {
		t.Error("there is a filter for a machine whose numbers are not known")
	}
}

// The ways that a filter cannot look into are left open only where no family that
// knows no namespaces can be had through them: a failure for another reason, and a
// family other than AF_VSOCK, close them too.
func TestOnlyAnUnknownFamilyIsTakenForNone(t *testing.T) {
	for _, family := range []int{unix.AF_VSOCK, afQIPCRTR, unix.AF_ISDN} {
		for _, err := range []error{nil, unix.EMFILE, unix.ENOMEM, unix.EPERM, unix.ENODEV, unix.EPROTONOSUPPORT} {
			if !anyFamily(func(domain, _, _ int) (int, error) {
				if domain == family {
					return -1, err
				}
				return -1, unix.EAFNOSUPPORT
			}) {
				t.Errorf("family %d, %v: taken for none", family, err)
			}
		}
	}
	if anyFamily(func(int, int, int) (int, error) { return -1, unix.EAFNOSUPPORT }) {
		t.Error("a kernel that knows none of them is taken for one that does")
	}
}
