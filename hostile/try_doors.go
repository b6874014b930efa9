package hostile

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Other doors to the same calls: other numbers, other rings.
var doorAttempts = category("doors", usual(tunnel(), refused(unix.ENOSYS, unix.EPERM), refused(unix.ENOSYS, unix.EPERM, unix.EACCES)),
	&Attempt{Name: "x32", Does: "socket(2) by the numbers of x32", Expect: inEach(refused(unix.ENOSYS)), try: tryX32},
	&Attempt{Name: "vsock-x32", Does: "AF_VSOCK by those", Expect: inEach(refused(unix.ENOSYS)), try: tryVsockX32},
	&Attempt{Name: "int80-udp", Does: "a datagram by the calls of 32-bit programs (int 0x80)", Control: onAMD64(Everybody), try: tryInt80},
	&Attempt{Name: "int80-socketcall-udp", Does: "the same by socketcall(2)", Control: onAMD64(Everybody),
		Expect: inNamespace(tunnel(unix.EAFNOSUPPORT, unix.ENOSYS)), try: trySocketcall},
	&Attempt{Name: "vsock-int80", Does: "AF_VSOCK by the calls of 32-bit programs",
		Expect: inEach(refused(unix.EAFNOSUPPORT, unix.ENOSYS, unix.EPERM)), try: tryVsockInt80},
	&Attempt{Name: "vsock-socketcall", Does: "AF_VSOCK by socketcall(2)",
		Expect: inEach(refused(unix.EAFNOSUPPORT, unix.ENOSYS, unix.EPERM)), try: tryVsockSocketcall},
	&Attempt{Name: "io-uring-udp", Does: "a datagram by io_uring: socket and send", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENOSYS, unix.EPERM)), try: tryRingUDP},
	&Attempt{Name: "vsock-io-uring", Does: "AF_VSOCK by io_uring (IORING_OP_SOCKET)", Expect: inEach(refused(unix.ENOSYS, unix.EPERM, unix.EAFNOSUPPORT)), try: tryRing(unix.AF_VSOCK, unix.SOCK_STREAM)},
	&Attempt{Name: "io-uring-tcp", Does: "a connection by io_uring: socket, connect and send", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENOSYS, unix.EPERM)), try: tryRingTCP},
	&Attempt{Name: "io-uring-sendmsg", Does: "a datagram by io_uring: sendmsg with IP_PKTINFO", Control: Everybody,
		Expect: inNamespace(tunnel(unix.ENOSYS, unix.EPERM, unix.ENODEV)), try: tryRingSendmsg},
	&Attempt{Name: "io-uring-borrowed", Does: "an ordinary socket connected by io_uring to the host's loopback", Control: Everybody, Expect: borrowed, try: tryRingBorrowed},
	&Attempt{Name: "int80-tcp", Does: "a connection by the calls of 32-bit programs", Control: onAMD64(Everybody),
		Expect: inNamespace(tunnel()), try: tryInt80TCP},
	&Attempt{Name: "int80-borrowed", Does: "an ordinary socket connected by those to the host's loopback", Control: onAMD64(Everybody), Expect: borrowed, try: tryInt80Borrowed},
	&Attempt{Name: "int80-socketcall-borrowed", Does: "the same by socketcall(2)", Control: onAMD64(Everybody), Expect: borrowed, try: trySocketcallBorrowed},
	&Attempt{Name: "int80-fastopen", Does: "an ordinary socket, and those with MSG_FASTOPEN to the host's loopback", Control: onAMD64(Everybody), Expect: borrowed, try: tryInt80FastOpen},
	&Attempt{Name: "x32-borrowed", Does: "an ordinary socket connected by the numbers of x32", Expect: inNamespace(refused(unix.ENOSYS)), try: tryX32Borrowed},
	&Attempt{Name: "int80-pidfd-getfd", Does: "take a socket out of a neighbour by those of 32-bit programs",
		Control: onAMD64(Everybody), Expect: inEach(refused(unix.EPERM, unix.ENOSYS)), try: tryInt80Getfd},
	&Attempt{Name: "int80-terminal", Does: "type into a terminal by those (TIOCSTI)", Expect: inEach(refused(unix.EIO, unix.EPERM, unix.ENOSYS)), try: tryInt80Terminal},
	&Attempt{Name: "int80-key", Does: "the kernel asks for a name, by those (request_key)", Expect: inEach(refused(unix.ENOKEY, unix.EPERM, unix.ENOSYS)), try: tryInt80Key},
	&Attempt{Name: "bpf", Does: "load a program that redirects packets (bpf)", Expect: inEach(refused(unix.EPERM)), try: tryBPF},
	&Attempt{Name: "syscall-dispatch", Does: "calls with a number beyond the table", Expect: inEach(refused(unix.ENOSYS)), try: tryBeyond},
)

// onAMD64 is who on machines that have these doors.
func onAMD64(who Who) Who {
	if runtime.GOARCH != "amd64" {
		return Nobody
	}
	return who
}

const x32Bit = 0x40000000

func x32Socket(family, kind int) (int, error) {
	if runtime.GOARCH != "amd64" {
		return -1, unix.ENOSYS
	}
	fd, _, errno := unix.RawSyscall(x32Bit+41, uintptr(family), uintptr(kind), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func tryX32(w *World) Result {
	fd, err := x32Socket(unix.AF_INET, unix.SOCK_DGRAM)
	if err != nil {
		return no("socket", err)
	}
	return sendTo(w, fd, false, w.targets(false))
}

func tryVsockX32(*World) Result {
	if _, err := x32Socket(unix.AF_VSOCK, unix.SOCK_STREAM); err != nil {
		return no("socket", err)
	}
	return got("socket")
}

// low returns memory that a 32-bit call can name.
func low(size int) ([]byte, error) {
	const map32Bit = 0x40 // MAP_32BIT of x86
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|map32Bit)
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

// Numbers of i386 (arch/x86/entry/syscalls/syscall_32.tbl).
const (
	nr32Socketcall = 102
	nr32Socket     = 359
	nr32Sendto     = 369
	callSocket     = 1 // of socketcall
	callSendto     = 11
)

// send32 sends a canary to t by fd with the calls of 32-bit programs.
func send32(w *World, fd uintptr, t netip.AddrPort, viaSocketcall bool) error {
	b, err := low(4096)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	text := w.canary()
	copy(b, text)
	// struct sockaddr_in
	binary.NativeEndian.PutUint16(b[1024:], unix.AF_INET)
	binary.BigEndian.PutUint16(b[1026:], t.Port())
	a := t.Addr().As4()
	copy(b[1028:], a[:])
	at, to := address(b), address(b[1024:])
	if viaSocketcall {
		_, err = socketcall(b[2048:], callSendto, fd, at, uintptr(len(text)), 0, to, 16)
		return err
	}
	_, err = int80(nr32Sendto, fd, at, uintptr(len(text)), 0, to, 16)
	return err
}

// socketcall is socketcall(2) with its arguments in block, which is low.
func socketcall(block []byte, call uintptr, args ...uintptr) (uintptr, error) {
	for i, a := range args {
		binary.NativeEndian.PutUint32(block[4*i:], uint32(a))
	}
	return int80(nr32Socketcall, call, address(block), 0, 0, 0, 0)
}

// int80 makes a call as 32-bit programs do.
func int80(nr, a, b, c, d, e, f uintptr) (uintptr, error) {
	r := interrupt80(nr, a, b, c, d, e, f)
	if n := int32(r); n < 0 && n > -4096 {
		return 0, unix.Errno(-n)
	}
	return r, nil
}

func tryInt80(w *World) Result {
	fd, err := int80(nr32Socket, unix.AF_INET, unix.SOCK_DGRAM, 0, 0, 0, 0)
	if err != nil {
		return noSuch("socket", err, unix.ENOSYS)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error { return send32(w, fd, t, false) })
}

func socketcallSocket(family, kind uintptr) (uintptr, error) {
	b, err := low(4096)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(b)
	return socketcall(b, callSocket, family, kind, 0)
}

func trySocketcall(w *World) Result {
	fd, err := socketcallSocket(unix.AF_INET, unix.SOCK_DGRAM)
	if err != nil {
		return no("socketcall", err)
	}
	return toEach(w.targets(false), func(t netip.AddrPort) error { return send32(w, fd, t, true) })
}

func tryVsockInt80(*World) Result {
	if _, err := int80(nr32Socket, unix.AF_VSOCK, unix.SOCK_STREAM, 0, 0, 0, 0); err != nil {
		return noSuch32(err)
	}
	return got("socket")
}

func tryVsockSocketcall(*World) Result {
	if _, err := socketcallSocket(unix.AF_VSOCK, unix.SOCK_STREAM); err != nil {
		return noSuch32(err)
	}
	return got("socketcall")
}

func noSuch32(err error) Result {
	if err == unix.ENOSYS {
		return missing("calls of 32-bit programs")
	}
	return no("socket", err)
}

// tryBPF loads the smallest program for packets that leave a cgroup.
func tryBPF(*World) Result {
	// mov r0, 1; exit (Documentation/bpf/standardization/instruction-set.rst)
	code := [2]uint64{0x00000001_000000b7, 0x95}
	license := []byte("GPL\x00")
	attr := struct {
		kind, count   uint32
		code, license uint64
		rest          [88]byte
	}{kind: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, count: 2,
		code: uint64(uintptr(unsafe.Pointer(&code))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(license)
	switch errno {
	case 0:
		return got("bpf")
	case unix.ENOSYS:
		return missing("bpf")
	}
	return no("bpf", errno)
}
