//go:build !amd64

package hostile

import "golang.org/x/sys/unix"

// interrupt80 is of x86 alone.
func interrupt80(nr, a, b, c, d, e, f uintptr) uintptr { n := -int(unix.ENOSYS); return uintptr(n) }
