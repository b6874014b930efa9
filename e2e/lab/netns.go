package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace of the lab, kept alive by a descriptor.
type Namespace struct {
	f *os.File
}

// NewNamespace returns a new, empty network namespace. The caller stays where
// it is. Close forgets it.
func NewNamespace() (*Namespace, error) {
	type result struct {
		n   *Namespace
		err error
	}
	c := make(chan result, 1) // one result; the goroutine must not wait to end
	go func() {
		// Never unlocked: the thread belongs to the new namespace and ends
		// with this goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- result{err: os.NewSyscallError("unshare", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		c <- result{&Namespace{f}, err}
	}()
	r := <-c
	return r.n, r.err
}

// Close lets go of n. It is gone when nothing else is in it.
func (n *Namespace) Close() error { return n.f.Close() }

// Fd returns a descriptor that names n, good until Close.
func (n *Namespace) Fd() int { return int(n.f.Fd()) }

// Do calls f on a thread that is in n: sockets made and processes started by f
// belong to n. f must not start goroutines that do so. Sockets may be used from
// anywhere afterwards.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("setns", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked: nobody else may run on it.
		return fmt.Errorf("return from a namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}
