package launcher

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"adit/broker"

	"golang.org/x/sys/unix"
)

// A call that says when it waits, and is held up before, does not hold up others: they are
// received after a moment all the same.
func TestOthersAreReceivedWhileACallIsHeldUp(t *testing.T) {
	b, err := broker.New(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	// With no listener, whoever receives finds that it is all over.
	n := &notifier{fd: -1, broker: b, needed: make(chan struct{}), over: make(chan struct{})}
	c := &call{}
	received := false
	n.do(&work{call: c}, func(_ *notifier, c *call) outcome {
		if c.ctx == nil {
			return outcome{waits: true, says: true}
		}
		select {
		case <-n.over:
			received = true
		case <-time.After(10 * time.Second):
		}
		return outcome{}
	})
	if !received {
		t.Error("nobody receives for ten seconds")
	}
}

// Nor does one hold them up that does not know that it waits.
func TestOthersAreReceivedWhileACallLasts(t *testing.T) {
	b, err := broker.New(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := &notifier{fd: -1, broker: b, needed: make(chan struct{}), over: make(chan struct{}), active: make(map[int]*work)}
	received, calls := 0, 0
	n.calls = map[int32]handler{1: func(*notifier, *call) outcome {
		if calls++; calls == 1 {
			return outcome{} // one before it, that does not last
		}
		select {
		case <-n.over:
			received++
		case <-time.After(10 * time.Second):
		}
		return outcome{}
	}}
	n.take(&notifRequest{nr: 1})
	n.take(&notifRequest{nr: 1})
	if received != 1 {
		t.Error("nobody receives for ten seconds")
	}
}

// The limit by which adit lets a unix connect wait is not the program's: a call without
// one that a signal has interrupted is made again.
func TestConnectThatWaitsForAUnixListenerIsRestarted(t *testing.T) {
	b, err := broker.New(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := t.TempDir() + "/full"
	var fds [3]int
	for i := range fds {
		if fds[i], err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[i])
	}
	to := &unix.SockaddrUnix{Name: path}
	for _, err := range []error{unix.Bind(fds[0], to), unix.Listen(fds[0], 0), unix.Connect(fds[1], to)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sa := append([]byte{unix.AF_UNIX, 0}, path+"\x00"...)
	var st unix.Stat_t
	if err := unix.Fstat(fds[2], &st); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan syscall.Errno)
	go func() { result <- b.ConnectUnix(ctx, unix.Gettid(), fds[2], sa) }()
	limited := func() bool {
		tv, err := unix.GetsockoptTimeval(fds[2], unix.SOL_SOCKET, unix.SO_SNDTIMEO)
		return err == nil && tv.Nano() > 0
	}
	for end := time.Now().Add(10 * time.Second); !limited(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it does not wait")
		}
	}
	n := &notifier{broker: b, numbers: socketCalls{connect: 42}}
	c := &call{nr: 42}
	c.about = &subject{borrowed: borrowed{fd: fds[2], inode: st.Ino}}
	if how := n.howAgain(c, true); how != restarted {
		t.Errorf("got %v, want that it is restarted", how)
	}
	cancel()
	if errno := <-result; errno != unix.EINTR {
		t.Errorf("got %v, want EINTR", errno)
	}
}
