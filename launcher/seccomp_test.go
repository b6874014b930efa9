package launcher

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel says how large its structures are; ours must be as large.
func TestNotificationStructuresHaveTheKernelsSizes(t *testing.T) {
	var sizes struct{ request, response, data uint16 }
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"request", unsafe.Sizeof(notifRequest{}), uintptr(sizes.request)},
		{"response", unsafe.Sizeof(notifResponse{}), uintptr(sizes.response)},
		{"data", unsafe.Sizeof(notifRequest{}) - unsafe.Offsetof(notifRequest{}.nr), uintptr(sizes.data)},
		{"added descriptor", unsafe.Sizeof(notifFD{}), 24},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %d bytes, want %d", tt.name, tt.got, tt.want)
		}
	}
}
