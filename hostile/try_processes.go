package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Robbing other processes: adit's of its key and its sockets, a neighbour of
// what it has.
var processAttempts = category("processes", refused(unix.EACCES, unix.EPERM),
	&Attempt{Name: "pidfd-getfd", Does: "take a socket out of adit or of a neighbour (pidfd_getfd)", Control: Everybody, try: tryGetfd},
	&Attempt{Name: "ptrace", Does: "trace adit or a neighbour (PTRACE_SEIZE)", Control: Everybody, try: tryPtrace},
	&Attempt{Name: "ptrace-attach", Does: "stop and trace a neighbour (PTRACE_ATTACH)", Control: Everybody, try: tryAttach},
	nested(0, &Attempt{Name: "ptrace-nested", Does: "trace with the capabilities of a nested namespace", try: tryPtrace}),
	&Attempt{Name: "proc-mem", Does: "read /proc/PID/mem", Control: Everybody, try: tryMem},
	&Attempt{Name: "vm-read", Does: "process_vm_readv", Control: Everybody, try: tryVMRead},
	&Attempt{Name: "vm-write", Does: "process_vm_writev", Control: Everybody, try: tryVMWrite},
	&Attempt{Name: "proc-fd", Does: "open what stands in /proc/PID/fd", Control: Everybody, try: tryProcFD},
	&Attempt{Name: "proc-root", Does: "look through /proc/PID/root: the host's files without our masks", Control: Everybody, try: tryProc("root/")},
	&Attempt{Name: "proc-cwd", Does: "the same by /proc/PID/cwd", Control: Everybody, try: tryProc("cwd/")},
	&Attempt{Name: "proc-environ", Does: "read /proc/PID/environ", Control: Everybody, try: tryProc("environ")},
	&Attempt{Name: "proc-maps", Does: "read /proc/PID/maps", Control: Everybody, try: tryProc("maps")},
	&Attempt{Name: "kcmp", Does: "compare with adit's descriptors (kcmp)", Control: Everybody,
		Expect: inNamespace(refused(unix.EACCES, unix.EPERM)), try: tryKcmp},
	&Attempt{Name: "madvise", Does: "reach into a process's memory by process_madvise", Expect: inNamespace(refused(unix.EACCES, unix.EPERM, unix.EINVAL)), try: tryMadvise},
	&Attempt{Name: "shared-memory", Does: "memory of adit's in /dev/shm", Expect: inNamespace(refused(unix.ENOENT)), try: tryShm},
	&Attempt{Name: "key-in-sight", Does: "a private key in command lines, environments or files that can be read", Expect: inNamespace(refused(unix.ENOENT)), try: tryKeyInSight},
	&Attempt{Name: "terminal-type", Does: "type into a terminal (TIOCSTI)", Expect: inNamespace(refused(unix.EIO)), try: tryTIOCSTI},
	&Attempt{Name: "terminal-paste", Does: "paste into a console (TIOCLINUX)", Expect: inNamespace(refused(unix.EIO)), try: tryTIOCLINUX},
)

// steal takes descriptor n of the process pidfd.
func steal(w *World, pidfd, n int) Result {
	fd, err := unix.PidfdGetfd(pidfd, n, 0)
	if err != nil {
		return no("pidfd_getfd", err)
	}
	sendTo(w, fd, false, w.targets(false))
	return got("pidfd_getfd")
}

func tryGetfd(w *World) Result {
	return overEach(w, func(pid int) Result {
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
	})
}

func tryPtrace(w *World) Result {
	return overEach(w, func(pid int) Result {
		if err := unix.PtraceSeize(pid); err != nil {
			return no("ptrace", err)
		}
		return got("ptrace " + strconv.Itoa(pid))
	})
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

func tryMem(w *World) Result {
	return overEach(w, func(pid int) Result {
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
	})
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

func tryVMRead(w *World) Result {
	return overEach(w, func(pid int) Result {
		at := uintptr(somewhere)
		if pid == w.Victim.PID {
			at = w.Victim.Address
		}
		b := make([]byte, max(1, len(w.Victim.Secret)))
		if err := vm(pid, b, at, false); err != nil {
			return no("process_vm_readv", err)
		}
		return got("process_vm_readv " + strconv.Itoa(pid))
	})
}

// tryVMWrite writes to the victim what stands there.
func tryVMWrite(w *World) Result {
	if w.Victim.PID == 0 {
		return missing("a victim")
	}
	if err := vm(w.Victim.PID, []byte(w.Victim.Secret), w.Victim.Address, true); err != nil {
		return no("process_vm_writev", err)
	}
	return got("process_vm_writev")
}

// tryProc opens a file of /proc/PID, or lists a folder.
func tryProc(name string) func(*World) Result {
	return func(w *World) Result {
		return overEach(w, func(pid int) Result {
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
		})
	}
}

// tryProcFD looks what the descriptors are. Their numbers alone are public to the
// same user.
func tryProcFD(w *World) Result {
	return overEach(w, func(pid int) Result {
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
	})
}

func tryKcmp(w *World) Result {
	const kcmpVM = 1
	return overEach(w, func(pid int) Result {
		_, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), kcmpVM, 0, 0, 0)
		switch errno {
		case 0:
			return got("kcmp")
		case unix.ENOSYS:
			return missing("kcmp")
		}
		return no("kcmp", errno)
	})
}

func tryMadvise(w *World) Result {
	return overEach(w, func(pid int) Result {
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
	})
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
	for _, pid := range outsiders(w) {
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
