package launcher

import (
	"net"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestOnlyWaysOutAreClosed(t *testing.T) {
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	tests := []struct {
		name string
		open func() (int, error)
		out  bool
	}{
		{"a pipe", func() (int, error) { return int(pipe.Fd()), nil }, false},
		{"a file", func() (int, error) { return unix.Open("/etc/passwd", unix.O_RDONLY|unix.O_CLOEXEC, 0) }, false},
		{"a memfd", func() (int, error) { return unix.MemfdCreate("x", unix.MFD_CLOEXEC) }, false},
		{"a unix socket", func() (int, error) { return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) }, false},
		{"a TCP socket", func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) }, true},
		{"a UDP socket", func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) }, true},
		{"a netlink socket", func() (int, error) { return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) }, true},
		{"a network namespace", func() (int, error) { return int(ns.Fd()), nil }, true},
		{"a device that is none of ours", func() (int, error) { return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0) }, false},
		{"an io_uring", ioUring, true},
	}
	for _, tt := range tests {
		fd, err := tt.open()
		if tt.name == "an io_uring" && (err == unix.ENOSYS || err == unix.EPERM) {
			t.Logf("io_uring cannot be had here: %v", err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := leadsOut(fd, &st); got != tt.out {
			t.Errorf("%s: leads out is %v, want %v", tt.name, got, tt.out)
		}
	}
}

// ioUring makes an instance with one entry.
func ioUring() (int, error) {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(ioUringSetup, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return -1, errno
	}
	unix.CloseOnExec(int(fd))
	return int(fd), nil
}

// A TUN is known whatever its node is called.
func TestTUNByAnotherNameLeadsOut(t *testing.T) {
	node := t.TempDir() + "/innocent"
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
		t.Skipf("make a device node: %v", err)
	}
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("open a TUN: %v", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if !leadsOut(fd, &st) {
		t.Error("a TUN of another name does not lead out")
	}
}

// What the runtime and the library open is close-on-exec; only that way can it
// be told from what the caller left open for the command.
func TestOurOwnDescriptorsAreNotTheCallers(t *testing.T) {
	count := func() int {
		t.Helper()
		fds, err := openDescriptors()
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := count()
	f, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if after := count(); after != before {
		t.Errorf("%d of our own descriptors are taken for the caller's", after-before)
	}
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if after := count(); after != before+1 {
		t.Errorf("an inherited descriptor was not seen: got %d, want %d", after, before+1)
	}
}
