package link

import (
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// PathMTU returns the size in bytes of the largest packet that the host's route
// to remote takes, as far as the host knows: the MTU of the interface, of the
// route, or what a router said lately. No packet is sent. The error wraps
// ENETUNREACH, for example, where there is no route.
func PathMTU(remote netip.AddrPort) (int, error) {
	n, err := pathMTU(remote)
	if err != nil {
		return 0, fmt.Errorf("path MTU to %s: %w", remote, err)
	}
	return n, nil
}

func pathMTU(remote netip.AddrPort) (int, error) {
	v6 := remote.Addr().Is6() && !remote.Addr().Is4In6()
	family, level, opt := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	if v6 {
		family, level, opt = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	var sa sockaddr
	n := setName(&sa, &packet.Path{Remote: remote}, v6)
	if n == 0 {
		return 0, unix.EAFNOSUPPORT
	}
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(n)); errno != 0 {
		return 0, os.NewSyscallError("connect", errno)
	}
	mtu, err := unix.GetsockoptInt(fd, level, opt)
	return mtu, os.NewSyscallError("getsockopt", err)
}
