package launcher

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A borrowed is a socket of the command's, or what else a call has named by a
// descriptor.
type borrowed struct {
	fd    int    // ours, of the same open file; -1: it cannot be had
	inode uint64 // the socket's
}

// A lender gets hold of the command's descriptors. pidfd_getfd(2) copies any; where
// a container's profile forbids it, a copy is kept of every socket from its making
// on, found again by its inode, and let go once nothing needs it: while a copy is
// kept, the command's close ends nothing.
type lender struct {
	keeps bool // no pidfd_getfd
	whole bool // pidfd_open knows PIDFD_THREAD

	mu        sync.Mutex       // guards what follows
	pending   map[uint64]place // of sockets whose connect is
	kept      map[uint64]keptSocket
	listeners map[uint64]place  // of those that are kept
	parted    map[uint64]parted // what was let go because it is connected, or listens
	sweep     int               // how many kept sockets are reason to look which are in use
	soon      *time.Timer       // a look after the last one was handed out
	queues    *time.Timer       // a look at the listeners, while somebody waits in their queues
}

// A place is where a thread has a descriptor.
type place struct {
	tid int
	fd  int32
}

// has reports whether a socket is there.
func (p place) has(ino uint64) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.tid, p.fd))
	found, is := socketInode(target)
	return err == nil && is && found == ino
}

type keptSocket struct {
	fd    int
	since time.Time
	out   bool // has been handed out
	bound bool // a unix socket that others can find
}

// pidfdThread is PIDFD_THREAD of linux/pidfd.h, Linux 6.9.
const pidfdThread = unix.O_EXCL

func newLender() *lender {
	l := &lender{pending: make(map[uint64]place), kept: make(map[uint64]keptSocket), parted: make(map[uint64]parted), listeners: make(map[uint64]place), sweep: 64}
	l.soon = time.AfterFunc(time.Hour, func() { l.look(inFlight) })
	l.soon.Stop()
	l.queues = time.AfterFunc(time.Hour, l.watchQueues)
	l.queues.Stop()
	_, err := unix.PidfdGetfd(-1, 0, 0)
	l.keeps = err != unix.EBADF
	fd, err := unix.PidfdOpen(unix.Gettid(), pidfdThread)
	if err == nil {
		unix.Close(fd)
		l.whole = true
	}
	return l
}

// borrow returns the open file behind descriptor fd of a thread.
func (l *lender) borrow(tid int, fd int32) (borrowed, syscall.Errno) {
	if fd < 0 {
		return borrowed{fd: -1}, unix.EBADF
	}
	if l.keeps {
		return l.find(tid, fd)
	}
	pidfd, err := l.open(tid)
	if err != nil {
		return borrowed{fd: -1}, unix.EPERM
	}
	own, err := unix.PidfdGetfd(pidfd, int(fd), 0)
	unix.Close(pidfd)
	if err != nil {
		if err == unix.EBADF {
			return borrowed{fd: -1}, unix.EBADF
		}
		return borrowed{fd: -1}, unix.EPERM
	}
	var st unix.Stat_t
	if unix.Fstat(own, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(own)
		return borrowed{fd: -1}, unix.ENOTSOCK
	}
	return borrowed{fd: own, inode: st.Ino}, 0
}

// open returns a descriptor of a thread, or of its process where the kernel knows
// processes only.
func (l *lender) open(tid int) (int, error) {
	if l.whole {
		return unix.PidfdOpen(tid, pidfdThread)
	}
	fd, err := unix.PidfdOpen(tid, 0)
	if err == unix.EINVAL || err == unix.ENOENT {
		// Not the first thread of its process.
		return unix.PidfdOpen(processOf(tid), 0)
	}
	return fd, err
}

// watch calls gone when a thread has ended, unless ctx ends before.
func (l *lender) watch(ctx context.Context, tid int, gone func()) {
	flags := unix.PIDFD_NONBLOCK
	pid := tid
	if l.whole {
		flags |= pidfdThread
	} else {
		pid = processOf(tid)
	}
	fd, err := unix.PidfdOpen(pid, flags)
	if err != nil {
		return // then it is found when it is answered
	}
	f := os.NewFile(uintptr(fd), "thread")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return
	}
	context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		// Readable is ended: pidfd_open(2).
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err == nil {
			gone()
		}
	}()
}

// processOf returns the process of a thread, 0 if it is not there.
func processOf(tid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if s, is := strings.CutPrefix(line, "Tgid:"); is {
			n, _ := strconv.Atoi(strings.TrimSpace(s))
			return n
		}
	}
	return 0
}

// find is borrow where sockets are kept.
func (l *lender) find(tid int, fd int32) (borrowed, syscall.Errno) {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, fd))
	if err != nil {
		if os.IsNotExist(err) {
			return borrowed{fd: -1}, unix.EBADF
		}
		return borrowed{fd: -1}, unix.EPERM
	}
	ino, is := socketInode(target)
	if !is {
		return borrowed{fd: -1}, unix.ENOTSOCK
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k, known := l.kept[ino]
	if !known {
		return borrowed{fd: -1, inode: ino}, 0
	}
	own, err := unix.FcntlInt(uintptr(k.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return borrowed{fd: -1}, unix.EMFILE
	}
	return borrowed{fd: own, inode: ino}, 0
}

// socketInode returns the inode in what /proc/PID/fd shows of a socket.
func socketInode(target string) (uint64, bool) {
	s, is := strings.CutPrefix(target, "socket:[")
	if !is {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return n, err == nil
}

// keep keeps a copy of a socket that is being handed out, where it has to, and returns
// its inode then.
func (l *lender) keep(fd int) (ino uint64) {
	var st unix.Stat_t
	if !l.keeps || unix.Fstat(fd, &st) != nil {
		return 0
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, known := l.kept[st.Ino]; known {
		unix.Close(old.fd)
	}
	l.kept[st.Ino] = keptSocket{fd: own, since: time.Now()}
	delete(l.parted, st.Ino)
	l.soon.Reset(2 * inFlight)
	if len(l.kept) >= l.sweep {
		age := inFlight
		if len(l.kept) >= crowd {
			age = inFlight / 20
		}
		l.sweepUnused(older(age))
		l.sweep = sweepAt(len(l.kept))
	}
	return st.Ino
}

// sweepAt returns how many kept sockets are reason to look again which of them are in
// use, when n were: a multiple, so that looking costs each little, but not so many that
// a crowd which has gone fills the table.
func sweepAt(n int) int { return max(64, min(2*n, n+max(crowd/2, n/8))) }

// again borrows a socket whose connect is pending; -1 if it is not there any more.
func (l *lender) again(ino uint64) int {
	l.mu.Lock()
	at, there := l.pending[ino]
	delete(l.pending, ino)
	l.mu.Unlock()
	if !there {
		return -1
	}
	b, errno := l.borrow(at.tid, at.fd)
	if errno != 0 || b.inode != ino {
		if b.fd >= 0 {
			unix.Close(b.fd)
		}
		return -1
	}
	return b.fd
}

// letGo closes the copy of a socket that needs none any more.
func (l *lender) letGo(ino uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(ino)
}

// drop is letGo with l.mu held.
func (l *lender) drop(ino uint64) {
	delete(l.pending, ino)
	delete(l.listeners, ino)
	if k, known := l.kept[ino]; known {
		unix.Close(k.fd)
		delete(l.kept, ino)
	}
}

// inFlight is how long a socket may be in no process's table: while it is handed
// out, or on the way through a unix socket. One that is longer on its way is let go,
// and can neither listen nor connect any more; where there is a crowd, a twentieth of it.
const inFlight = 2 * time.Second

// crowd is how many copies are too many to wait that long: a program that makes and closes
// some thousand sockets a second would have adit without descriptors before (package
// hostile's races do, of 20 000).
const crowd = 2048

// look lets go of what no process has any more and was handed out longer than age ago.
func (l *lender) look(age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepUnused(older(age))
}

// older are the sockets that were handed out longer than age ago.
func older(age time.Duration) func(uint64, keptSocket) bool {
	return func(_ uint64, k keptSocket) bool { return time.Since(k.since) > age }
}

// sweepUnused lets go of those that no process has, of some. l.mu must be held.
func (l *lender) sweepUnused(some func(ino uint64, k keptSocket) bool) {
	used := inUse()
	if used == nil {
		return
	}
	for ino, k := range l.kept {
		at, is := used[ino]
		if !is && k.out && some(ino, k) {
			l.drop(ino)
		} else if _, listens := l.listeners[ino]; is && listens {
			l.listeners[ino] = at
		}
	}
}

// inUse returns the sockets that processes have, each with one place of it; nil if that
// cannot be seen.
func inUse() map[uint64]place {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	used := make(map[uint64]place)
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if target, err := os.Readlink(dir + "/" + fd.Name()); err == nil {
				if ino, is := socketInode(target); is {
					n, _ := strconv.Atoi(fd.Name())
					used[ino] = place{pid, int32(n)}
				}
			}
		}
	}
	return used
}

// Close lets go of everything.
func (l *lender) Close() error {
	l.soon.Stop()
	l.queues.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for ino, k := range l.kept {
		unix.Close(k.fd)
		delete(l.kept, ino)
	}
	clear(l.listeners) // or a connect that settles late would have their queues looked at
	return nil
}
