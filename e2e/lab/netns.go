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
//
// No thread ends for it: a thread that has started processes would take those
// that are to die with it along (prctl(2), PR_SET_PDEATHSIG).
func NewNamespace() (*Namespace, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("unshare", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked: nobody else may run on it.
		return nil, fmt.Errorf("return from a namespace: %w", back)
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, err
	}
	return &Namespace{f}, nil
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
