//go:build !386 && !arm

package hostile

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tryFastHighAddress has the address where a filter that looks at the lower half of
// a pointer sees none.
func tryFastHighAddress(w *World) Result {
	where, _, errno := unix.Syscall6(unix.SYS_MMAP, 1<<32, uintptr(unix.Getpagesize()), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
	if errno != 0 || uint32(where) != 0 {
		return missing("memory at 4 GiB")
	}
	name := inet4(w.loopback(false))
	if err := vm(os.Getpid(), name, where, true); err != nil {
		return broken(err)
	}
	return fastOpen(w, false, w.loopbacks(), func(fd int, _ netip.AddrPort) error {
		text := []byte(w.canary())
		_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), unix.MSG_FASTOPEN,
			where, uintptr(len(name)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}
