package main

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// dockerCaps is what root has in a container by default.
var dockerCaps = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID,
	unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
}

// giveUpCaps takes capabilities out of every set of this thread, the bounding
// set first: that needs one of them.
func giveUpCaps() error {
	var keep []int
	switch *caps {
	case "":
		return nil
	case "docker":
		keep = dockerCaps
	case "none":
	default:
		return fmt.Errorf("%q is neither docker nor none", *caps)
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(keep, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	var sets [2]unix.CapUserData // capabilities 0–31 and 32–63
	for _, c := range keep {
		sets[c/32].Permitted |= 1 << (c % 32)
		sets[c/32].Effective |= 1 << (c % 32)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&header, &sets[0])
}

// changeUser makes this thread another user's; package syscall would do it to all
// threads, of which some are not under our filters.
func changeUser() error {
	if *user < 0 {
		return nil
	}
	id := uintptr(*user)
	for _, call := range []struct{ nr, a, b, c uintptr }{
		{nr: unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, id, id, id}, {unix.SYS_SETRESUID, id, id, id},
	} {
		if _, _, errno := unix.RawSyscall(call.nr, call.a, call.b, call.c); errno != 0 {
			return errno
		}
	}
	return nil
}
