package launcher

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A mapping says which users and groups exist in the stage's user namespace.
type mapping struct {
	uids, gids []syscall.SysProcIDMap
	whole      bool // every id that we have ourselves, and setgroups works
	inner      bool // the command is uid 0 inside: a second namespace goes around it
}

// mappingFor returns the mapping for this process's user. An ordinary user is
// mapped to itself, so that the command sees its own uid; with asRoot, to 0. The
// system's root keeps all ids that it has, where it has the capabilities for
// it, so that its programs can change owners and users as before.
func mappingFor(asRoot bool) mapping {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 && hasCaps(unix.CAP_SETUID, unix.CAP_SETGID) {
		uids, err1 := ownMap("/proc/self/uid_map")
		gids, err2 := ownMap("/proc/self/gid_map")
		if err1 == nil && err2 == nil {
			return mapping{uids: uids, gids: gids, whole: true, inner: true}
		}
	}
	insideUID, insideGID := uid, gid
	if asRoot {
		insideUID, insideGID = 0, 0
	}
	return mapping{
		uids:  []syscall.SysProcIDMap{{ContainerID: insideUID, HostID: uid, Size: 1}},
		gids:  []syscall.SysProcIDMap{{ContainerID: insideGID, HostID: gid, Size: 1}},
		inner: insideUID == 0,
	}
}

// ownMap reads one of our own id maps (user_namespaces(7)) and returns the
// mapping of each id in it to itself, for a namespace below ours.
func ownMap(path string) ([]syscall.SysProcIDMap, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m []syscall.SysProcIDMap
	for line := range strings.Lines(string(b)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		m = append(m, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return m, nil
}

// hasCaps reports whether this thread has all the capabilities in effect.
func hasCaps(caps ...int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return false
	}
	for _, c := range caps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}
