package launcher

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A blocker is a layer of the system that can forbid user namespaces, how to
// recognise it, and what to type. The table is capture's: each row names the
// file that tells.
type blocker struct {
	name  string
	found func(m *machine) bool
	hints func(m *machine) []string
}

// A machine is what the blockers are recognised by; tests make their own.
type machine struct {
	read func(path string) string // content of a file, trimmed; "" when it cannot be read
	stat func(path string) bool
	exe  string
}

func thisMachine() *machine {
	return &machine{
		read: func(path string) string {
			b, _ := os.ReadFile(path)
			return strings.TrimRight(string(b), "\n\x00")
		},
		stat: func(path string) bool { _, err := os.Stat(path); return err == nil },
		exe:  "adit",
	}
}

// status returns a value of this process's /proc/self/status, trimmed.
func (m *machine) status(name string) string {
	for line := range strings.Lines(m.read("/proc/self/status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

const (
	apparmorSwitch = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

	allowOnce = "adit setup apparmor --print | sudo sh"
	dockerRun = "docker run --security-opt seccomp=unconfined IMAGE"

	hintKubernetes = "in the pod's spec: securityContext: {seccompProfile: {type: Unconfined}}"
)

// blockers are in the order of asking: what is certain first.
var blockers = []blocker{
	{
		name:  "the kernel has no user namespaces (CONFIG_USER_NS)",
		found: func(m *machine) bool { return !m.stat("/proc/self/ns/user") },
		hints: func(*machine) []string { return nil },
	},
	{
		name:  "user.max_user_namespaces is 0",
		found: func(m *machine) bool { return m.read("/proc/sys/user/max_user_namespaces") == "0" },
		hints: func(*machine) []string { return []string{"sudo sysctl -w user.max_user_namespaces=10000"} },
	},
	{
		name:  "user.max_net_namespaces is 0",
		found: func(m *machine) bool { return m.read("/proc/sys/user/max_net_namespaces") == "0" },
		hints: func(*machine) []string { return []string{"sudo sysctl -w user.max_net_namespaces=10000"} },
	},
	{
		name:  "user.max_mnt_namespaces is 0",
		found: func(m *machine) bool { return m.read("/proc/sys/user/max_mnt_namespaces") == "0" },
		hints: func(*machine) []string { return []string{"sudo sysctl -w user.max_mnt_namespaces=10000"} },
	},
	{
		name:  "kernel.unprivileged_userns_clone is 0",
		found: func(m *machine) bool { return m.read("/proc/sys/kernel/unprivileged_userns_clone") == "0" },
		hints: func(*machine) []string { return []string{"sudo sysctl -w kernel.unprivileged_userns_clone=1"} },
	},
	{
		name: "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
		found: func(m *machine) bool {
			return m.read(apparmorSwitch) == "1"
		},
		hints: func(*machine) []string { return []string{"allow it for this program only: " + allowOnce} },
	},
	{
		name: "the container's seccomp profile forbids user namespaces",
		found: func(m *machine) bool {
			return seccompFiltered(m) && inContainer(m)
		},
		hints: unconfined,
	},
	{
		name:  "a seccomp filter of the caller forbids user namespaces",
		found: seccompFiltered,
		hints: func(*machine) []string { return nil },
	},
	{
		name:  "root needs CAP_SETFCAP to be itself in a user namespace",
		found: rootWithoutSetfcap,
		hints: func(m *machine) []string {
			if !inContainer(m) {
				return nil
			}
			return []string{"start the container with: docker run --cap-add SETFCAP IMAGE"}
		},
	},
	{
		name:  "in a chroot the kernel forbids user namespaces",
		found: func(m *machine) bool { return inChroot() },
		hints: func(*machine) []string { return nil },
	},
}

func seccompFiltered(m *machine) bool { return m.status("Seccomp") == "2" }

// rootWithoutSetfcap reports whether this process is root and lacks the capability
// that is needed to map uid 0 (user_namespaces(7), since Linux 5.12).
func rootWithoutSetfcap(m *machine) bool {
	uids := strings.Fields(m.status("Uid"))
	caps, err := strconv.ParseUint(m.status("CapEff"), 16, 64)
	return len(uids) > 1 && uids[1] == "0" && err == nil && caps&(1<<unix.CAP_SETFCAP) == 0
}

// inChroot reports whether / is not the root of this process's mount namespace:
// in mountinfo the root is then not mounted at "/".
func inChroot() bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return false
		}
	}
	return true
}

// powerless explains a refusal inside namespaces that were made: AppArmor lets
// them be made and takes their power away. Nil if it is not that.
func powerless(m *machine, what string, errno syscall.Errno) *Error {
	if errno != unix.EPERM && errno != unix.EACCES || m.read(apparmorSwitch) != "1" {
		return nil
	}
	return usernsRefused(m, what, errno)
}

// usernsRefused explains that the attempt to make the namespaces failed with
// err: the layer that said no, and what to type.
func usernsRefused(m *machine, what string, err error) *Error {
	for _, b := range blockers {
		if b.found(m) {
			return errBlocked("namespace", b.name, what, err, b.hints(m))
		}
	}
	layer := layerUnknown
	if errors.Is(err, unix.ENOSPC) {
		layer = layerFull
	}
	return errBlocked("namespace", layer, what, err, []string{"adit doctor"})
}
