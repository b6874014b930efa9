package broker

import (
	"context"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A unix socket that blocks waits in connect(2) as long as the listener's queue is full,
// or its SO_SNDTIMEO lasts (unix(7)), and nothing but a signal to the thread ends that. So
// it waits a turn at a time, by a SO_SNDTIMEO of ours.

// connectTurn is how long such a connect lasts at most when it is not wanted any more.
const connectTurn = 100 * time.Millisecond

// unixWaits are the sockets that wait so, by inode, each with its own limit.
type unixWaits struct {
	mu    sync.Mutex
	limit map[uint64]*unixLimit
}

type unixLimit struct {
	tv    unix.Timeval
	users int
}

// begin returns the limit of the program's socket, which end gives back to it after the
// last who waits.
func (u *unixWaits) begin(ino uint64, fd int) (time.Duration, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l, there := u.limit[ino]
	if !there {
		tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
		if err != nil {
			return 0, err
		}
		if u.limit == nil {
			u.limit = make(map[uint64]*unixLimit)
		}
		l = &unixLimit{tv: *tv}
		u.limit[ino] = l
	}
	l.users++
	return time.Duration(l.tv.Nano()), nil
}

func (u *unixWaits) end(ino uint64, fd int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.limit[ino]
	if l.users--; l.users == 0 {
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &l.tv)
		delete(u.limit, ino)
	}
}

// SendLimit returns the SO_SNDTIMEO that the program has given the socket with the
// inode, 0 for none.
func (b *Broker) SendLimit(ino uint64, fd int) time.Duration {
	b.unixWaits.mu.Lock()
	defer b.unixWaits.mu.Unlock()
	if l, there := b.unixWaits.limit[ino]; there {
		return time.Duration(l.tv.Nano())
	}
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if err != nil {
		return 0
	}
	return time.Duration(tv.Nano())
}

// waitsToConnect reports whether connect(2) of the socket may wait: those of datagrams,
// and netlink's, do not.
func waitsToConnect(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, kindErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kindErr == nil && domain == unix.AF_UNIX && kind != unix.SOCK_DGRAM && !isNonblocking(fd)
}

// connectUntil is connect(2) that ctx ends.
func (b *Broker) connectUntil(ctx context.Context, fd int, sa []byte) syscall.Errno {
	var st unix.Stat_t
	if !waitsToConnect(fd) || unix.Fstat(fd, &st) != nil {
		return rawConnect(fd, sa)
	}
	limit, err := b.unixWaits.begin(st.Ino, fd)
	if err != nil {
		return errnoOf(err)
	}
	defer b.unixWaits.end(st.Ino, fd)
	for left := limit; ; {
		turn := connectTurn
		if limit > 0 {
			turn = min(turn, left)
		}
		tv := unix.NsecToTimeval(int64(turn))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
			return errnoOf(err)
		}
		begin := time.Now()
		errno := rawConnect(fd, sa)
		if errno != unix.EAGAIN && errno != unix.EINTR { // a signal of the runtime's
			return errno
		}
		if rest := turn - time.Since(begin); errno == unix.EAGAIN && rest > 0 {
			select { // it does not block any more, by another thread's doing
			case <-ctx.Done():
			case <-time.After(rest):
			}
		}
		if ctx.Err() != nil {
			return unix.EINTR
		}
		if left -= time.Since(begin); limit > 0 && left <= 0 {
			return unix.EAGAIN
		}
	}
}
