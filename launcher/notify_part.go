package launcher

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A parted is what a socket had come to when its copy was let go: nothing more can
// be asked of it, where descriptors cannot be borrowed.
type parted int

const (
	isConnected parted = iota + 1
	isJoined           // connected, and its next connect is to say so: connect(2) of one that does not block
	isListening
)

// maxParted is how many are remembered: nothing tells when one is closed.
const maxParted = 4096

// part lets go of a socket that has come to p. l.mu must be held.
func (l *lender) part(ino uint64, p parted) {
	l.drop(ino)
	if !l.keeps {
		return
	}
	if len(l.parted) >= maxParted {
		for old := range l.parted {
			delete(l.parted, old)
			break
		}
	}
	l.parted[ino] = p
}

// connects notes where a socket is whose connect begins.
func (l *lender) connects(ino uint64, at place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending[ino] = at
}

// settles lets go of a socket that is connected, or about to be. Who waits for that is
// still to be told.
func (l *lender) settles(ino uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := isConnected
	if _, asked := l.pending[ino]; asked {
		p = isJoined
	}
	l.part(ino, p)
	if len(l.listeners) > 0 { // it may be in a queue by now
		l.queues.Reset(queueTime)
	}
}

// connected notes what a connect has told.
func (l *lender) connected(ino uint64, errno syscall.Errno) {
	if errno == unix.EINPROGRESS || errno == unix.EALREADY || errno == unix.EINTR {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, ino)
	if errno == 0 && l.parted[ino] == isJoined {
		l.parted[ino] = isConnected
	}
}

// connectAgain is connect(2) of a socket of which there is no copy: it was connected
// then, and says so once.
func (l *lender) connectAgain(ino uint64) syscall.Errno {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parted[ino] != isJoined {
		return unix.EISCONN
	}
	l.parted[ino] = isConnected
	return 0
}

// listens notes that a socket listens, at a place. Its end matters now, and it is let
// go, unless it is needed: then it is looked after by endListeners.
func (l *lender) listens(ino uint64, at place, needed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.kept[ino]; known && needed {
		l.listeners[ino] = at
		return
	}
	l.part(ino, isListening)
}

// endListeners lets go of listeners that nobody has any more: who connects to one is to
// be refused.
func (l *lender) endListeners() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookListeners()
	if len(l.listeners) > 0 {
		l.queues.Reset(queueTime)
	}
}

// lookListeners is endListeners with l.mu held.
func (l *lender) lookListeners() {
	for ino, at := range l.listeners {
		if !at.has(ino) {
			l.sweepUnused(func(ino uint64, _ keptSocket) bool { _, listens := l.listeners[ino]; return listens })
			return
		}
	}
}

// queueTime is how long who waits in the queue of a listener may wait to hear that it
// is closed.
const queueTime = 20 * time.Millisecond

// watchQueues looks at the listeners again and again while somebody waits in a queue.
func (l *lender) watchQueues() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookListeners()
	for ino := range l.listeners {
		// Of a listener it is the length of the queue (tcp_get_info of the kernel).
		if info, err := unix.GetsockoptTCPInfo(l.kept[ino].fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.Unacked > 0 {
			l.queues.Reset(queueTime)
			return
		}
	}
}

// wasParted returns what a socket of which there is no copy had come to, 0 if that is
// not known.
func (l *lender) wasParted(ino uint64) parted {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parted[ino]
}

// handedOut notes that a kept socket has come to a process: until then none has it.
func (l *lender) handedOut(ino uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, known := l.kept[ino]; known {
		k.out = true
		l.kept[ino] = k
	}
}

// binds notes that a unix socket is bound: others can find it.
func (l *lender) binds(ino uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, known := l.kept[ino]; known {
		k.bound = true
		l.kept[ino] = k
	}
}

// lookBound lets go of what nobody has any more, if others could still find it: who
// connects to it is to be refused.
func (l *lender) lookBound() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.kept {
		if k.bound {
			l.sweepUnused(func(_ uint64, k keptSocket) bool { return k.bound })
			return
		}
	}
}
