package launcher

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// closeSockets closes those descriptors from 3 on that would be a way out of
// the namespace, though they were opened outside of it: sockets of every family
// but unix, network devices, namespaces, and io_uring instances, which make
// sockets. Everything else is the command's: pipes of <(…), a make jobserver, the
// unix sockets of socket activation.
func closeSockets() error {
	fds, err := openDescriptors()
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if leadsOut(fd) {
			unix.Close(fd)
		}
	}
	return nil
}

// leadsOut reports whether fd is a way to another network.
func leadsOut(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return true
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		return err != nil || family != unix.AF_UNIX
	}
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return true
	}
	return target == "/dev/net/tun" || target == "/dev/vhost-net" || target == "/dev/vsock" ||
		strings.HasPrefix(target, "anon_inode:[io_uring]") ||
		strings.HasPrefix(target, "net:[") || strings.HasPrefix(target, "user:[") || strings.HasPrefix(target, "mnt:[")
}
