package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideVar is set for the process in the user namespace.
const insideVar = "ADIT_CONFINE_INSIDE"

// inUserns runs this program again in a user namespace of its own, in which
// everybody is who they are, and returns its exit status. Its limit of namespaces
// is not that of the machine.
func inUserns() int {
	uids, err := sameIDs("/proc/self/uid_map", os.Getuid())
	if err != nil {
		fail("%v", err)
	}
	gids, err := sameIDs("/proc/self/gid_map", os.Getgid())
	if err != nil {
		fail("%v", err)
	}
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env: append(os.Environ(), insideVar+"=1"), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids,
			GidMappingsEnableSetgroups: os.Geteuid() == 0, Pdeathsig: syscall.SIGKILL,
		},
	})
	if err != nil {
		fail("make a user namespace: %v", err)
	}
	return waitFor(pid)
}

// sameIDs maps every id that there is here to itself; as an ordinary user, one's
// own.
func sameIDs(path string, own int) (m []syscall.SysProcIDMap, err error) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{ContainerID: own, HostID: own, Size: 1}}, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		m = append(m, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return m, nil
}

// limitUserns sets the limit of the user namespace that we are in.
func limitUserns() error {
	if *maxUserns < 0 {
		return nil
	}
	return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte(strconv.Itoa(*maxUserns)), 0)
}
