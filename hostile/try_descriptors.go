package hostile

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Descriptors of the host's, left open by the caller or handed over later.
var descriptorAttempts = category("descriptors", inEach(refused(unix.EBADF)),
	&Attempt{Name: "inherited-udp", Does: "a UDP socket that the caller left open", Control: Everybody, try: tryInheritedUDP},
	&Attempt{Name: "inherited-packet", Does: "a packet socket that the caller left open", try: tryInheritedPacket},
	&Attempt{Name: "inherited-netlink", Does: "a netlink socket that the caller left open", Control: Everybody, try: tryInheritedNetlink},
	&Attempt{Name: "inherited-netns", Does: "the host's network namespace, left open", Control: Root,
		Expect: Modes{}.both(refused(unix.EBADF, unix.EPERM)), try: tryInheritedNetns},
	&Attempt{Name: "inherited-directory", Does: "/run, left open: the sockets below it", Control: Everybody,
		Expect: hidden, try: tryInheritedDirectory},
	&Attempt{Name: "inherited-pidfd", Does: "a handle of a process outside, left open", Control: Everybody,
		Expect: inEach(refused(unix.EPERM)), try: tryInheritedPidfd},
	&Attempt{Name: "inherited-ring", Does: "an io_uring of the host's, left open", Control: Everybody, try: tryInheritedRing},
	&Attempt{Name: "queued-socket", Does: "a UDP socket in the queue of a unix socket that the caller left open", Control: Everybody,
		Expect: inEach(open()), try: tryQueued},
	&Attempt{Name: "received-by-path", Does: "a UDP socket from a helper outside, by a unix socket of the file system", Control: Everybody,
		Expect: byRaw(open()), try: func(w *World) Result { return tryReceived(w, w.Victim.Path) }},
	&Attempt{Name: "received-by-abstract", Does: "the same by an abstract unix socket", Control: Everybody,
		Expect: byRaw(open()).with(Namespace, refused(unix.ECONNREFUSED)), try: func(w *World) Result { return tryReceived(w, w.Victim.Abstract) }},
	&Attempt{Name: "unix-path", Does: "a unix socket of the file system, as the session bus and docker.sock are", Control: Everybody,
		Expect: byRaw(open()), try: func(w *World) Result { return connectUnix(w, w.Path) }},
	&Attempt{Name: "unix-abstract", Does: "an abstract unix socket of the host's", Control: Everybody,
		Expect: byRaw(open()).with(Namespace, refused(unix.ECONNREFUSED)), try: func(w *World) Result { return connectUnix(w, w.Abstract) }},
)

// byRaw is e, and refused in preload mode: there connect(2) is refused to a program
// that makes its system calls itself, and the shim makes it for others.
func byRaw(e Expect) Modes { return inEach(e).preload(refused(unix.EACCES)) }

// inherited returns the descriptor of that name if it is what it was: a closed
// one's number may have been given to another.
func inherited(w *World, name string, is func(fd int) bool) (int, Result) {
	fd, ok := w.Inherited[name]
	if !ok {
		return -1, missing(name)
	}
	if !is(fd) {
		return -1, no("use descriptor "+strconv.Itoa(fd), unix.EBADF)
	}
	return fd, Result{}
}

// isSocket returns a test for sockets of a family.
func isSocket(family int) func(int) bool {
	return func(fd int) bool {
		f, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		return err == nil && f == family
	}
}

func tryInheritedUDP(w *World) Result {
	fd, r := inherited(w, "udp", isSocket(unix.AF_INET))
	if fd < 0 {
		return r
	}
	return sendTo(w, fd, false, w.targets(false))
}

func tryInheritedPacket(w *World) Result {
	fd, r := inherited(w, "packet", isSocket(unix.AF_PACKET))
	if fd < 0 {
		return r
	}
	index, _, mac := w.link()
	a := &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}
	copy(a.Addr[:], mac)
	if err := unix.Sendto(fd, w.frame(), 0, a); err != nil {
		return no("send", err)
	}
	return sent()
}

func tryInheritedNetlink(w *World) Result {
	if fd, r := inherited(w, "netlink", isSocket(unix.AF_NETLINK)); fd < 0 {
		return r
	}
	return got("a netlink socket")
}

func tryInheritedNetns(w *World) Result {
	fd, r := inherited(w, "netns", func(fd int) bool {
		var fs unix.Statfs_t
		return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.NSFS_MAGIC
	})
	if fd < 0 {
		return r
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return no("setns", err)
	}
	return enteredNetwork(w)
}

func tryInheritedDirectory(w *World) Result {
	fd, r := inherited(w, "directory", func(fd int) bool {
		var st unix.Stat_t
		return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	})
	if fd < 0 {
		return r
	}
	return connectUnix(w, "/proc/self/fd/"+strconv.Itoa(fd)+"/nscd/socket")
}

func tryInheritedPidfd(w *World) Result {
	fd, ok := w.Inherited["pidfd"]
	if !ok {
		return missing("pidfd")
	}
	return steal(w, fd, w.Victim.Socket)
}

func tryInheritedRing(w *World) Result {
	fd, ok := w.Inherited["ring"]
	if !ok {
		return missing("an io_uring")
	}
	if link, _ := readlink(fd); link != "anon_inode:[io_uring]" {
		return no("use descriptor "+strconv.Itoa(fd), unix.EBADF)
	}
	return got("an io_uring")
}

// tryQueued takes the socket out of the queue.
func tryQueued(w *World) Result {
	fd, r := inherited(w, "queue", isSocket(unix.AF_UNIX))
	if fd < 0 {
		return r
	}
	return receive(w, fd)
}

// tryReceived asks the victim for its socket.
func tryReceived(w *World, path string) Result {
	if path == "" {
		return missing("a victim")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return no("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return no("connect", err)
	}
	return receive(w, fd)
}

// receive takes a UDP socket from a unix socket, and sends by it.
func receive(w *World, fd int) Result {
	theirs, r := take(fd)
	if theirs < 0 {
		return r
	}
	return sendTo(w, theirs, false, w.targets(false))
}

// take takes a socket from a unix socket.
func take(fd int) (int, Result) {
	b, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	if !ready(fd, unix.POLLIN) {
		return -1, no("recvmsg", unix.EAGAIN)
	}
	_, n, _, _, err := unix.Recvmsg(fd, b, control, 0)
	if err != nil {
		return -1, no("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		return -1, no("recvmsg", unix.ENOMSG)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1, no("recvmsg", unix.ENOMSG)
	}
	return fds[0], Result{}
}
