package hostile

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets, threads and processes of the same run: what one has made, another one
// uses.
var handedAttempts = category("processes of the run", usual(tunnel(), tunnel(), refused(unix.EACCES)),
	&Attempt{Name: "handed-udp", Does: "a UDP socket that another process of the run has made, by a unix socket", Control: Everybody, try: tryHanded(unix.SOCK_DGRAM, 0)},
	&Attempt{Name: "handed-tcp", Does: "the same of TCP", Control: Everybody, try: tryHanded(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)},
	&Attempt{Name: "handed-udp-nested", Does: "the same, used in new user and network namespaces, unbound there", Control: Everybody,
		Expect: nestedExpect, try: tryHanded(unix.SOCK_DGRAM, unix.CLONE_NEWUSER|unix.CLONE_NEWNET)},
	&Attempt{Name: "handed-tcp-nested", Does: "the same of TCP", Control: Everybody,
		Expect: nestedExpect, try: tryHanded(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, unix.CLONE_NEWUSER|unix.CLONE_NEWNET)},
	&Attempt{Name: "handed-by-getfd", Does: "a child's socket, taken out of it (pidfd_getfd)", Control: Everybody,
		Expect: usual(tunnel(unix.EPERM), refused(unix.EPERM), refused(unix.EACCES)), try: tryOwnGetfd},
	&Attempt{Name: "made-nested", Does: "a socket made in new user and mount namespaces", Control: Everybody,
		Expect: nestedExpect, try: tryMadeNested(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)},
	&Attempt{Name: "made-in-new-network", Does: "a socket made in a new network", Expect: usual(own(unix.EPERM), refused(unix.EPERM, unix.EACCES), refused(unix.EPERM, unix.EACCES)),
		try: tryMadeNested(unix.CLONE_NEWUSER | unix.CLONE_NEWNET)},
	&Attempt{Name: "across-exec", Does: "a socket that was made before exec", Control: Everybody, try: tryAcrossExec},
	&Attempt{Name: "thread-before-exec", Does: "a thread that was there before exec: another one than the first calls it", Control: Everybody, try: tryExecByThread},
	&Attempt{Name: "thread-after-exec", Does: "a thread that is made after exec", Control: Everybody, try: tryNewThread},
	&Attempt{Name: "orphan", Does: "a process whose parents have ended, in a session of its own", Control: Everybody, try: tryOrphan},
	&Attempt{Name: "other-user", Does: "a unix socket that only another user may connect to, by who adit runs as", Expect: inEach(refused(unix.EACCES, unix.EPERM)), try: tryOtherUser},
)

// nestedExpect is for what may be refused where namespaces are.
var nestedExpect = usual(tunnel(unix.EPERM, unix.ENOSPC), tunnel(unix.EPERM, unix.ENOSPC), refused(unix.EACCES, unix.EPERM))

// child returns this attempt as a second process, which knows itself by w.Sent, in
// new namespaces of flags.
func child(w *World, flags uintptr, files ...*os.File) *exec.Cmd {
	mine := *w
	mine.Sent = max(1, w.Sent)
	text, _ := json.Marshal(&mine)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{attemptName, attempts[w.id-1].Name, string(text)}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// resultOf runs the second process and returns what it says.
func resultOf(cmd *exec.Cmd) Result {
	text, err := cmd.Output()
	var r Result
	if json.Unmarshal(text, &r) != nil {
		return no("clone", err)
	}
	return r
}

// tryHanded makes a socket here and uses it there: descriptor 3 is the unix socket
// by which it comes.
func tryHanded(kind int, flags uintptr) func(*World) Result {
	return func(w *World) Result {
		if w.Sent > 0 {
			return useHanded(w)
		}
		fd, err := unix.Socket(unix.AF_INET, kind, 0)
		if err != nil {
			return no("socket", err)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return no("socketpair", err)
		}
		if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
			return no("sendmsg", err)
		}
		return resultOf(child(w, flags, os.NewFile(uintptr(pair[1]), "pair")))
	}
}

// useHanded takes the socket, tries to unbind it with whatever power there is, and
// sends.
func useHanded(w *World) Result {
	fd, r := take(3)
	if fd < 0 {
		return r
	}
	unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "\x00")
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1)
	return out(w, fd)
}

func tryOwnGetfd(w *World) Result {
	if w.Sent > 0 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return no("socket", err)
		}
		os.Stdout.WriteString(strconv.Itoa(fd) + "\n")
		os.Stdin.Read(make([]byte, 1))
		return sent()
	}
	cmd := child(w, 0)
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		return no("fork", unix.EAGAIN)
	}
	defer func() { stdin.Close(); cmd.Wait() }()
	b := make([]byte, 512)
	n, _ := stdout.Read(b)
	theirs, err := strconv.Atoi(string(b[:max(0, n-1)]))
	if err != nil {
		return no("socket", unix.EACCES) // it has none
	}
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		return no("pidfd_open", err)
	}
	fd, err := unix.PidfdGetfd(pidfd, theirs, 0)
	if err != nil {
		return no("pidfd_getfd", err)
	}
	return out(w, fd)
}

func tryMadeNested(flags uintptr) func(*World) Result {
	return func(w *World) Result {
		if w.Sent == 0 {
			return resultOf(child(w, flags))
		}
		r := sendHere(w)
		streams(w, false, 0, w.targets(false), nil)
		return r
	}
}

// tryAcrossExec makes a socket that stays open and becomes itself again.
func tryAcrossExec(w *World) Result {
	const number = 100
	if w.Sent > 0 {
		return out(w, number)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.Dup3(fd, number, 0); err != nil {
		return no("dup", err)
	}
	return becomeAgain(w)
}

// becomeAgain executes this attempt anew in the place of the process.
func becomeAgain(w *World) Result {
	cmd := child(w, 0)
	return no("execve", unix.Exec("/proc/self/exe", cmd.Args, os.Environ()))
}

// tryExecByThread lets another thread than the first execute the program: it goes
// on by the first one's number.
func tryExecByThread(w *World) Result {
	if w.Sent > 0 {
		return sendHere(w)
	}
	r := make(chan Result)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			r <- broken(unix.EINVAL)
			return
		}
		r <- becomeAgain(w)
	}()
	return <-r
}

// tryNewThread ends its thread with the socket it has made; another one, which did
// not exist when the process began, uses it.
func tryNewThread(w *World) Result {
	fd := make(chan int)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		failed <- err
		fd <- s
	}()
	if err := <-failed; err != nil {
		return no("socket", err)
	}
	s, r := <-fd, make(chan Result)
	go func() {
		runtime.LockOSThread()
		r <- either(out(w, s), sendHere(w))
	}()
	return <-r
}

// tryOrphan starts a process which starts one and ends.
func tryOrphan(w *World) Result {
	switch w.Sent {
	case 0:
		return resultOf(child(w, 0)) // it waits for the pipe, which the orphan holds
	case 1:
		w.Sent++
		cmd := child(w, 0)
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			return no("fork", err)
		}
		os.Exit(0)
	}
	unix.Setsid()
	for range 10 {
		unix.Poll(nil, 50) // until the one between has ended
	}
	return sendHere(w)
}

// nobody is a user without files.
const nobody = 65534

// tryOtherUser connects, as another user where it can become one, to a socket of
// the host's that is for its owner alone.
func tryOtherUser(w *World) Result {
	if os.Getuid() == 0 && w.Sent == 0 {
		cmd := child(w, 0)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		return resultOf(cmd)
	}
	if unix.Access(w.Private, unix.W_OK) == nil {
		return missing("a socket of another user's")
	}
	return connectUnix(w, w.Private)
}
