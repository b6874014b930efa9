package hostile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Filters of the program's own, beside adit's or in its place (seccomp(2)).
var filterAttempts = category("filters", usual(tunnel(), tunnel(), refused(unix.EACCES)),
	&Attempt{Name: "filter-allow", Does: "a filter that allows everything, then send", Control: Everybody, try: tryAllow},
	&Attempt{Name: "filter-listener", Does: "a filter that asks its own listener, which lets every socket through", Control: Everybody,
		Expect: usual(tunnel(), refused(unix.EBUSY), refused(unix.EACCES)), try: tryListener},
	&Attempt{Name: "filter-trace", Does: "a call that is made another one by a tracer (SECCOMP_RET_TRACE)", Control: onAMD64(Everybody),
		Expect: usual(tunnel(unix.EPERM), tunnel(unix.EPERM, unix.ENOSYS), refused(unix.EACCES, unix.EPERM)), try: tryTrace},
	&Attempt{Name: "filter-entry", Does: "a call that is made another one by a tracer before filters see it (PTRACE_SYSCALL)", Control: onAMD64(Everybody),
		Expect: usual(tunnel(unix.EPERM), tunnel(unix.EPERM, unix.ENOSYS), refused(unix.EACCES, unix.EPERM)), try: tryEntry},
)

const (
	dataNr = 0 // offset in struct seccomp_data

	notifLen     = 80 // struct seccomp_notif: id (8), pid (4), flags (4), data (64)
	notifRecv    = 0xc0502100
	notifSend    = 0xc0182101
	notifRespLen = 24 // struct seccomp_notif_resp: id (8), val (8), error (4), flags (4)
	letThrough   = 1  // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// install installs a filter on this thread that does what with call nr, and nothing
// with others.
func install(nr, what uint32, flags uintptr) (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: what},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func tryAllow(w *World) Result {
	if _, err := install(unix.SYS_SOCKET, unix.SECCOMP_RET_ALLOW, 0); err != nil {
		return no("seccomp", err)
	}
	return sendHere(w)
}

// tryListener lets another thread answer for the calls of this one.
func tryListener(w *World) Result {
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
		return no("socket", err) // before there is a listener that could be slow
	} else {
		unix.Close(fd)
	}
	listener, err := install(unix.SYS_SOCKET, unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	if err != nil {
		return no("seccomp", err)
	}
	// The other thread has no filter: Go does not make threads from one that is
	// locked.
	go func() {
		for {
			var n [notifLen]byte
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifRecv, uintptr(unsafe.Pointer(&n)))
			if errno == unix.EINTR || errno == unix.ENOENT {
				continue // a signal of Go's, here or there: it will be asked again
			}
			if errno != 0 {
				return
			}
			var resp [notifRespLen]byte
			copy(resp[:8], n[:8])
			*(*uint32)(unsafe.Pointer(&resp[20])) = letThrough
			unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&resp)))
		}
	}()
	return sendHere(w)
}

// tracedCall is what the child calls: its arguments are those of socket(2).
func tracedCall() (int, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_GETPPID, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// tryTrace has a filter that asks the tracer, who then changes the number.
func tryTrace(w *World) Result {
	return traced(w, false, func() error {
		_, err := install(unix.SYS_GETPPID, unix.SECCOMP_RET_TRACE, 0)
		return err
	})
}

// tryEntry changes it as the call begins.
func tryEntry(w *World) Result { return traced(w, true, func() error { return nil }) }

// traced runs this attempt as a second process that is traced by this one, at each
// call or when a filter says so. prepare is done there.
func traced(w *World, each bool, prepare func() error) Result {
	if w.Sent > 0 {
		return tracee(w, prepare)
	}
	if runtime.GOARCH != "amd64" {
		return missing("a tracer for this machine")
	}
	cmd := child(w, 0)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return no("fork", err)
	}
	lines := bufio.NewReader(out)
	text, _ := lines.ReadString('\n')
	tid, err := strconv.Atoi(strings.TrimSpace(text))
	if err == nil {
		err = trace(tid, each, func() { in.Close() })
	}
	if err != nil {
		unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		return no("ptrace", err)
	}
	var r Result
	if err := json.NewDecoder(lines).Decode(&r); err != nil {
		return broken(err)
	}
	return r
}

// tracee is the second process: it tells its number, and goes on when standard
// input ends.
func tracee(w *World, prepare func() error) Result {
	if err := prepare(); err != nil {
		return no("seccomp", err)
	}
	fmt.Println(unix.Gettid())
	os.Stdin.Read(make([]byte, 1))
	fd, err := tracedCall()
	if err != nil {
		return no("socket", err)
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return no("swap the call", unix.EPERM) // it was getppid after all
	}
	return sendTo(w, fd, false, w.targets(false))
}
