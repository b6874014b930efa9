package launcher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The steps of the attempts of the modes without a namespace, as errors name
// them.
const (
	stepListen   = "install a filter with a listener"
	stepFilter   = "install a filter"
	stepRead     = "process_vm_readv"
	stepWrite    = "process_vm_writev"
	stepBorrow   = "pidfd_getfd"
	stepHandOut  = "hand out a descriptor"
	stepBindToLo = "SO_BINDTODEVICE"
	stepLoopback = "connect over lo"
	stepPlace    = "load a library"
)

// A denial is one way in which a layer of the system refuses a step, how to
// recognise it, and what to type.
type denial struct {
	steps []string
	errno []syscall.Errno           // any, if empty
	found func(m *machine) bool     // nil: the errno tells enough
	name  string                    // the layer
	hints func(m *machine) []string // nil: nothing can be done here
}

var (
	filterSteps = []string{stepListen, stepFilter}
	memorySteps = []string{stepRead, stepWrite}
	forbidden   = []syscall.Errno{unix.EPERM, unix.EACCES}
	notThere    = []syscall.Errno{unix.EINVAL, unix.ENOSYS}
)

const yamaScope = "/proc/sys/kernel/yama/ptrace_scope"

// denials are in the order of asking: what is certain first.
var denials = []denial{
	{
		steps: []string{stepListen}, errno: notThere,
		name: "the kernel has no seccomp notification (Linux 5.0 or later)",
	},
	{
		steps: []string{stepListen}, errno: []syscall.Errno{unix.EBUSY},
		name: "another program listens to its system calls already (a sandbox, or adit around adit)",
	},
	{
		steps: []string{stepFilter}, errno: notThere,
		name: "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)",
	},
	{
		steps: memorySteps, errno: []syscall.Errno{unix.ENOSYS},
		name: "the kernel cannot read the memory of another process (CONFIG_CROSS_MEMORY_ATTACH)",
	},
	{
		steps: memorySteps, found: func(m *machine) bool { return m.read(yamaScope) == "2" },
		name:  "yama forbids to read the memory of another process (kernel.yama.ptrace_scope is 2)",
		hints: typed("sudo sysctl -w kernel.yama.ptrace_scope=1"),
	},
	{
		steps: memorySteps, found: func(m *machine) bool { return m.read(yamaScope) == "3" },
		name: "yama forbids to read the memory of another process until the next boot (kernel.yama.ptrace_scope is 3)",
	},
	{
		steps: memorySteps,
		found: func(m *machine) bool { return strings.HasPrefix(m.read("/sys/fs/selinux/booleans/deny_ptrace"), "1") },
		name:  "SELinux forbids to read the memory of another process (deny_ptrace is on)",
		hints: typed("sudo setsebool deny_ptrace off"),
	},
	{
		steps: append(memorySteps, filterSteps...), errno: forbidden,
		found: func(m *machine) bool { return seccompFiltered(m) && inContainer(m) },
		name:  "the container's seccomp profile forbids it",
		hints: unconfined,
	},
	{
		steps: append(memorySteps, filterSteps...), errno: forbidden, found: seccompFiltered,
		name: "a seccomp filter of the caller forbids it",
	},
	{
		steps: []string{stepHandOut}, errno: []syscall.Errno{unix.EINVAL, unix.ENOTTY},
		name: "the kernel cannot hand out a descriptor as the answer to a call (Linux 5.14 or later)",
	},
	{
		steps: []string{stepBindToLo}, errno: []syscall.Errno{unix.EPERM},
		name: "the kernel lets nobody but root bind a socket to an interface (Linux 5.7 or later)",
	},
	{
		steps: []string{stepLoopback}, errno: []syscall.Errno{unix.ENETUNREACH, unix.ENETDOWN, unix.EADDRNOTAVAIL, unix.ENODEV},
		name:  "the loopback interface is down",
		hints: typed("sudo ip link set lo up"),
	},
	{
		steps: []string{stepPlace},
		name:  "no folder will do",
		hints: typed(hintExec),
	},
}

func typed(lines ...string) func(*machine) []string {
	return func(*machine) []string { return lines }
}

// modeDenied explains that a step of a mode has failed with err: the layer that
// said no, if it is known, and what to type.
func modeDenied(m *machine, mode, step string, err error) *Error {
	if remedies(err) != nil {
		return errUsedUp(mode, step, err)
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	for _, d := range denials {
		if !slices.Contains(d.steps, step) || len(d.errno) > 0 && !slices.Contains(d.errno, errno) ||
			d.found != nil && !d.found(m) {
			continue
		}
		var hints []string
		if d.hints != nil {
			hints = d.hints(m)
		}
		return errBlocked(mode, d.name, step, err, hints)
	}
	return errModeStep(mode, step, err)
}

// inContainer reports whether an engine of containers has left its mark.
func inContainer(m *machine) bool {
	return m.stat("/.dockerenv") || m.stat("/run/.containerenv") || inKubernetes(m)
}

func inKubernetes(m *machine) bool { return m.stat("/run/secrets/kubernetes.io/serviceaccount") }

// unconfined is how a container gets no seccomp profile.
func unconfined(m *machine) []string {
	if inKubernetes(m) {
		return []string{hintKubernetes}
	}
	return []string{"start the container with: " + dockerRun}
}

// compilers are how one gets a C compiler, by the package manager that is there.
var compilers = []struct{ manager, install string }{
	{"/usr/bin/apt-get", "sudo apt-get install gcc"},
	{"/usr/bin/dnf", "sudo dnf install gcc"},
	{"/sbin/apk", "sudo apk add gcc"},
	{"/usr/bin/pacman", "sudo pacman -S gcc"},
	{"/usr/bin/zypper", "sudo zypper install gcc"},
}

// buildAgain returns what to type for an adit that has a shim.
func buildAgain(m *machine) string {
	for _, c := range compilers {
		if m.stat(c.manager) {
			return c.install + " && make build"
		}
	}
	return "make build"
}

// whyUnreadable returns why the memory of a process of the command's cannot be
// read by one of the user ownUID.
func whyUnreadable(m *machine, pid, ownUID int) string {
	for line := range strings.Lines(m.read(fmt.Sprintf("/proc/%d/status", pid))) {
		var real, effective int
		if n, _ := fmt.Sscanf(line, "Uid: %d %d", &real, &effective); n == 2 && effective != ownUID {
			return fmt.Sprintf("%s to %d", whyOtherUser, effective)
		}
	}
	return whyNotDumped
}
