package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Robbing other processes: adit's of its key and its sockets, a neighbour of
// what it has. Without a namespace the user's other processes are within reach of
// one another, as they are without adit; adit's own never are.
var processAttempts = category("processes", inEach(refused(unix.EACCES, unix.EPERM)), slices.Concat(
	robbing("pidfd-getfd", "take a socket out of it (pidfd_getfd)", inEach(refused(unix.EPERM)), tryGetfd),
	robbing("ptrace", "trace it (PTRACE_SEIZE)", neighbourly, tryPtrace),
	robbing("proc-mem", "read /proc/PID/mem", neighbourly, tryMem),
	robbing("vm-read", "process_vm_readv", neighbourly, tryVMRead),
	robbing("vm-write", "process_vm_writev", neighbourly, tryVMWrite),
	robbing("proc-fd", "look what stands in /proc/PID/fd", neighbourly, tryProcFD),
	robbing("proc-root", "look through /proc/PID/root: the host's files without our masks", neighbourly, tryProc("root/")),
	robbing("proc-cwd", "the same by /proc/PID/cwd", neighbourly, tryProc("cwd/")),
	robbing("proc-environ", "read /proc/PID/environ", neighbourly, tryProc("environ")),
	robbing("proc-maps", "read /proc/PID/maps", neighbourly, tryProc("maps")),
	robbing("kcmp", "compare with its memory (kcmp)", neighbourly, tryKcmp),
	[]*Attempt{
		{Name: "ptrace-attach-neighbour", Does: "stop and trace a neighbour (PTRACE_ATTACH)", Control: Everybody, Expect: neighbourly, try: tryAttach},
		nested(0, &Attempt{Name: "ptrace-nested", Does: "trace with the capabilities of a nested namespace", try: overAll(tryPtrace)}),
		{Name: "madvise", Does: "reach into a process's memory by process_madvise",
			Expect: inEach(refused(unix.EACCES, unix.EPERM, unix.EINVAL)), try: overAll(tryMadvise)},
		{Name: "shared-memory", Does: "memory of adit's in /dev/shm", Expect: inEach(refused(unix.ENOENT)), try: tryShm},
		{Name: "key-in-sight", Does: "a private key in command lines, environments or files that can be read",
			Expect: inEach(refused(unix.ENOENT)), try: tryKeyInSight},
		{Name: "terminal-type", Does: "type into a terminal (TIOCSTI)", Expect: inEach(refused(unix.EIO)), try: tryTIOCSTI},
		{Name: "terminal-paste", Does: "paste into a console (TIOCLINUX)", Expect: inEach(refused(unix.EIO)), try: tryTIOCLINUX},
	},
)...)

// neighbourly is what to expect of an attempt on another process of the user's.
var neighbourly = inNamespace(refused(unix.EACCES, unix.EPERM)).both(open(unix.EACCES, unix.EPERM))

// robbing returns an attempt on adit's own processes, and the same one on others:
// what is expected of that is neighbours.
func robbing(name, does string, neighbours Modes, try func(*World, int) Result) []*Attempt {
	return []*Attempt{
		{Name: name + "-adit", Does: does + ": adit's own processes",
			try: func(w *World) Result { return overEach(w, aditsOwn(w), try) }},
		{Name: name + "-neighbour", Does: does + ": the user's other processes", Control: Everybody, Expect: neighbours,
			try: func(w *World) Result { return overEach(w, aditsNeighbours(w), try) }},
	}
}

// overAll tries something with every process outside.
func overAll(try func(*World, int) Result) func(*World) Result {
	return func(w *World) Result { return overEach(w, outsiders(w), try) }
}

// steal takes descriptor n of the process pidfd.
func steal(w *World, pidfd, n int) Result {
	fd, err := unix.PidfdGetfd(pidfd, n, 0)
	if err != nil {
		return no("pidfd_getfd", err)
	}
	sendTo(w, fd, false, w.targets(false))
	return got("pidfd_getfd")
}

func tryGetfd(w *World, pid int) Result {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return no("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	if pid == w.Victim.PID {
		return steal(w, pidfd, w.Victim.Socket)
	}
	r := Result{}
	for n := range 64 {
		if r = steal(w, pidfd, n); r.State == StateGot || r.Errno == unix.EPERM {
			break
		}
	}
	return r
}

func tryPtrace(w *World, pid int) Result {
	if err := unix.PtraceSeize(pid); err != nil {
		return no("ptrace", err)
	}
	return got("ptrace " + strconv.Itoa(pid))
}

// tryAttach stops the victim alone: it is let go when this process ends.
func tryAttach(w *World) Result {
	if w.Victim.PID == 0 {
		return missing("a victim")
	}
	if err := unix.PtraceAttach(w.Victim.PID); err != nil {
		return no("ptrace", err)
	}
	unix.Wait4(w.Victim.PID, nil, unix.WALL, nil)
	unix.PtraceDetach(w.Victim.PID)
	return got("ptrace")
}

func tryMem(w *World, pid int) Result {
	path := fmt.Sprintf("/proc/%d/mem", pid)
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return no("open "+path, err)
	}
	defer unix.Close(fd)
	b := make([]byte, len(w.Victim.Secret))
	if pid == w.Victim.PID {
		unix.Pread(fd, b, int64(w.Victim.Address))
		if string(b) != w.Victim.Secret {
			return broken(fmt.Errorf("the secret is %q", b))
		}
	}
	return got("open " + path)
}

// vm moves bytes between b and address at of pid.
func vm(pid int, b []byte, at uintptr, write bool) error {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	remote := []unix.RemoteIovec{{Base: at, Len: len(b)}}
	var err error
	if write {
		_, err = unix.ProcessVMWritev(pid, local, remote, 0)
	} else {
		_, err = unix.ProcessVMReadv(pid, local, remote, 0)
	}
	return err
}

// somewhere is an address that a process has in any case: where programs are
// mapped that do not ask for another place.
const somewhere = 0x400000

func tryVMRead(w *World, pid int) Result {
	at := uintptr(somewhere)
	if pid == w.Victim.PID {
		at = w.Victim.Address
	}
	b := make([]byte, max(1, len(w.Victim.Secret)))
	if err := vm(pid, b, at, false); err != nil {
		return no("process_vm_readv", err)
	}
	return got("process_vm_readv " + strconv.Itoa(pid))
}

// tryVMWrite writes to the victim what stands there. To others it writes nothing:
// where it may not, it hears that before it hears that there is no such address.
func tryVMWrite(w *World, pid int) Result {
	b, at := []byte{0}, uintptr(0)
	if pid == w.Victim.PID {
		b, at = []byte(w.Victim.Secret), w.Victim.Address
	}
	if err := vm(pid, b, at, true); err != nil && err != unix.EFAULT {
		return no("process_vm_writev", err)
	}
	return got("process_vm_writev")
}

// tryProc opens a file of /proc/PID, or lists a folder.
func tryProc(name string) func(*World, int) Result {
	return func(w *World, pid int) Result {
		path := fmt.Sprintf("/proc/%d/%s", pid, name)
		f, err := os.Open(path)
		if err != nil {
			return no("open "+path, err)
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.IsDir() {
			if _, err = f.Readdirnames(1); err != nil {
				return no("getdents "+path, err)
			}
		} else if _, err := f.Read(make([]byte, 1)); err != nil {
			return no("read "+path, err)
		}
		return got("open " + path)
	}
}

// tryProcFD looks what the descriptors are. Their numbers alone are public to the
// same user.
func tryProcFD(w *World, pid int) Result {
	r := Result{}
	for n := range 16 {
		path := fmt.Sprintf("/proc/%d/fd/%d", pid, n)
		if _, err := os.Readlink(path); err == nil {
			return got("readlink " + path)
		} else if !errors.Is(err, os.ErrNotExist) || r.State == "" {
			r = no("readlink "+path, err)
		}
	}
	return r
}

func tryKcmp(w *World, pid int) Result {
	const kcmpVM = 1
	n, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), kcmpVM, 0, 0, 0)
	switch {
	case errno == 0 && int(n) >= 0: // 1 and 2: they are different, and this says in which order
		return got("kcmp")
	case errno == unix.ENOSYS:
		return missing("kcmp")
	}
	return no("kcmp", errno)
}

func tryMadvise(w *World, pid int) Result {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return no("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	iov := unix.RemoteIovec{Base: somewhere, Len: 4096}
	_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&iov)), 1, unix.MADV_COLD, 0, 0)
	if errno == 0 {
		return got("process_madvise")
	}
	return noSuch("process_madvise", errno, unix.ENOSYS)
}

func tryShm(*World) Result {
	list, _ := filepath.Glob("/dev/shm/*adit*")
	if len(list) > 0 {
		return got(list[0])
	}
	return no("look in /dev/shm", unix.ENOENT)
}

// tryKeyInSight looks for a key in what is public of adit's processes, and in
// what this one was given.
func tryKeyInSight(w *World) Result {
	for _, pid := range aditsOwn(w) {
		for _, name := range []string{"cmdline", "environ"} {
			path := fmt.Sprintf("/proc/%d/%s", pid, name)
			b, _ := os.ReadFile(path)
			if strings.Contains(strings.ToLower(string(b)), "privatekey") {
				return got(path)
			}
		}
	}
	if os.Getenv("ADIT_CONFIG_CONTENT") != "" {
		return got("the environment")
	}
	return no("look for a key", unix.ENOENT)
}

// terminal returns a new terminal.
func terminal() (int, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, err
	}
	return unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY, 0)
}

func typeInto(request uint, b []byte, name string) Result {
	fd, err := terminal()
	if err != nil {
		return missing("a terminal")
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&b[0])))
	if errno == 0 {
		return got("ioctl(" + name + ")")
	}
	return noSuch("ioctl("+name+")", errno, unix.ENOTTY)
}

// tryTIOCSTI types into a terminal of its own: who may do that may type into the
// caller's.
func tryTIOCSTI(*World) Result { return typeInto(unix.TIOCSTI, []byte{0}, "TIOCSTI") }

func tryTIOCLINUX(*World) Result { return typeInto(0x541c, []byte{6, 0}, "TIOCLINUX") }

func readlink(fd int) (string, error) { return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)) }
