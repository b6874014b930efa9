package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch follows what others do to the interface: it keeps MTU what the
// interface's is, and calls changed with whether it is up, once before anything
// else and then after every change, from one goroutine. An interface that is
// moved is followed into the other network namespace, which may take
// CAP_SYS_ADMIN; without CAP_NET_BROADCAST it is looked at every second there.
// Otherwise there is no polling.
//
// It returns nil when ctx ends, and an error that wraps net.ErrClosed when the
// interface is deleted or t closed.
func (t *TUN) Watch(ctx context.Context, changed func(up bool)) error {
	w := tunWatcher{t: t, changed: changed}
	for ctx.Err() == nil {
		if err := w.follow(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch %s: %w", t.file.f.Name(), err)
		}
	}
	return nil
}

// A tunWatcher is the state of Watch.
type tunWatcher struct {
	t       *TUN
	changed func(up bool)
	told    bool // changed was called
	up      bool // what it was told
	index   int  // of the interface, in its namespace
}

// errMoved is that the interface is no longer in the namespace that is watched,
// or no more.
var errMoved = errors.New("the interface went away")

// follow watches the interface as long as it stays in its namespace.
func (w *tunWatcher) follow(ctx context.Context) error {
	away, err := w.t.namespace()
	if err != nil {
		return err
	}
	var news *linkNews
	if away == nil {
		news, err = newsAtHome()
	} else {
		news, err = newsFrom(away)
		away.Close()
		if err != nil {
			return w.visit(ctx)
		}
	}
	if err != nil {
		return err
	}
	defer news.f.Close()
	defer context.AfterFunc(ctx, func() { news.f.Close() })()
	if err = w.listen(news); errors.Is(err, errMoved) {
		return w.pause(ctx)
	}
	return err
}

// listen goes on until the interface is no longer where the news are from.
func (w *tunWatcher) listen(news *linkNews) error {
	if err := w.look(); err != nil {
		return err
	}
	for buf := make([]byte, 64<<10); ; {
		b, err := news.read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS): // messages were lost: netlink(7)
			err = w.look()
		case err == nil:
			err = w.handle(b)
		}
		if err != nil {
			return err
		}
	}
}

// pause is before the next look for an interface that went away: while its
// namespace ends it is nowhere for a moment.
func (w *tunWatcher) pause(ctx context.Context) error {
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
	return nil
}

// lookAgain is how often an interface elsewhere is looked at, if it has to be.
const lookAgain = time.Second

// visit watches an interface that is in another namespace, as long as it is in
// another, for who may not listen to that.
func (w *tunWatcher) visit(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		if err := w.look(); errors.Is(err, errMoved) {
			return w.pause(ctx)
		} else if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		away, err := w.t.namespace()
		if err != nil || away == nil {
			return err
		}
		away.Close()
	}
}

// look asks for the state.
func (w *tunWatcher) look() error {
	var now *netlink.LinkAttrs
	err := w.t.inside(func() error {
		name, err := w.t.name()
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName(name)
		var missing netlink.LinkNotFoundError
		switch {
		case errors.As(err, &missing): // renamed or moved this moment
			return errMoved
		case err == nil:
			now = l.Attrs()
		}
		return err
	})
	if err != nil {
		return err
	}
	w.index = now.Index
	w.set(now) // at home: sockets may be made of it
	return nil
}

func (w *tunWatcher) set(a *netlink.LinkAttrs) {
	w.t.mtu.Store(int32(a.MTU))
	if up := a.Flags&net.FlagUp != 0; !w.told || up != w.up {
		w.told, w.up = true, up
		w.changed(up)
	}
}

// handle takes one datagram of news.
func (w *tunWatcher) handle(b []byte) error {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return w.look()
	}
	for _, m := range msgs {
		switch {
		case m.Header.Type == unix.RTM_DELNSID: // perhaps the one where it is
			return errMoved
		case m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg:
			continue
		}
		info := nl.DeserializeIfInfomsg(m.Data)
		if int(info.Index) != w.index || info.Family != unix.AF_UNSPEC { // a bridge tells of its ports
			continue
		}
		if m.Header.Type == unix.RTM_DELLINK {
			return errMoved
		}
		l, err := netlink.LinkDeserialize((*unix.NlMsghdr)(&m.Header), m.Data)
		if err != nil {
			return w.look()
		}
		w.set(l.Attrs())
	}
	return nil
}

// name returns the name of the interface, which may have changed. The error
// wraps net.ErrClosed if there is none any more.
func (t *TUN) name() (name string, err error) {
	cerr := t.file.control(func(fd uintptr) { name, err = tunName(int(fd)) })
	if cerr != nil {
		return "", cerr
	}
	if errors.Is(err, unix.EBADFD) {
		err = net.ErrClosed
	}
	return name, err
}

// tunGetDevNetNS is TUNGETDEVNETNS of linux/if_tun.h, since Linux 5.2: a
// descriptor of the namespace that the interface is in.
const tunGetDevNetNS = 'T'<<8 | 227

// namespace returns the network namespace that the interface is in, or nil if
// that is the calling thread's own, or cannot be told.
func (t *TUN) namespace() (*os.File, error) {
	fd, errno := -1, unix.Errno(0)
	err := t.file.control(func(tun uintptr) {
		r, _, e := unix.Syscall(unix.SYS_IOCTL, tun, tunGetDevNetNS, 0)
		fd, errno = int(r), e
	})
	switch {
	case err != nil:
		return nil, err
	case errno == unix.EBADFD:
		return nil, net.ErrClosed
	case errno != 0: // an old kernel: then it is where it was
		return nil, nil
	}
	theirs := os.NewFile(uintptr(fd), "network namespace")
	a, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		theirs.Close()
		return nil, err
	}
	b, err := theirs.Stat()
	if err != nil || os.SameFile(a, b) {
		theirs.Close()
		return nil, err
	}
	return theirs, nil
}

// inside runs f on a thread in the interface's network namespace.
func (t *TUN) inside(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	theirs, err := t.namespace()
	if err != nil {
		return err
	}
	if theirs == nil {
		return f()
	}
	defer theirs.Close()
	ours, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ours.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace that the interface was moved to: %w", os.NewSyscallError("setns", err))
	}
	defer func() {
		if unix.Setns(int(ours.Fd()), unix.CLONE_NEWNET) != nil {
			runtime.LockOSThread() // once more: the thread dies with this goroutine
		}
	}()
	return f()
}
