package link

import (
	"os"

	"golang.org/x/sys/unix"
)

// Leave makes the device stay when t is closed, with nobody at its other end, so
// that every packet that goes there is lost: it ends when its network namespace
// does. That is for a namespace that is about to end: a device that ends by
// itself keeps its owner waiting for 15 to 35 ms, until no processor can be
// looking at it any more (rcu_barrier in netdev_run_todo); the kernel takes a
// namespace down by itself.
func (t *TUN) Leave() error {
	var errno error
	if err := t.file.control(func(fd uintptr) { errno = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 1) }); err != nil {
		return err
	}
	return os.NewSyscallError("TUNSETPERSIST", errno)
}
