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
// CAP_SYS_ADMIN. There it is looked at every second: a socket that listens
// would keep the namespace alive, and so the interface, and so the listener.
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
	switch {
	case err != nil:
		return err
	case away != nil:
		away.Close()
		return w.visit(ctx)
	}
	var news *os.File
	err = w.t.inside(func() (err error) {
		if news, err = subscribe(unix.RTMGRP_LINK); err != nil {
			return err
		}
		return w.look()
	})
	if news != nil {
		defer news.Close()
		defer context.AfterFunc(ctx, func() { news.Close() })()
	}
	for buf := make([]byte, 64<<10); err == nil; {
		var n int
		n, err = news.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS): // messages were lost: netlink(7)
			err = w.t.inside(w.look)
		case errors.Is(err, unix.EINTR):
			err = nil
		case err == nil:
			err = w.handle(buf[:n])
		}
	}
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// lookAgain is how often an interface elsewhere is looked at.
const lookAgain = time.Second

// visit watches an interface that is in another namespace, as long as it is in
// another.
func (w *tunWatcher) visit(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		if err := w.t.inside(w.look); err != nil && !errors.Is(err, errMoved) {
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

// look asks for the state. It runs inside.
func (w *tunWatcher) look() error {
	name, err := w.t.name()
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing): // renamed or moved this moment
		return errMoved
	case err != nil:
		return err
	}
	w.index = l.Attrs().Index
	w.set(l.Attrs())
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
		return w.t.inside(w.look)
	}
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg {
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
			return w.t.inside(w.look)
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
