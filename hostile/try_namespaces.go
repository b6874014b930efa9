package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Entering the host's namespaces, by those who are in them.
var namespaceAttempts = category("namespaces", inEach(refused(unix.EACCES, unix.EPERM)),
	&Attempt{Name: "setns-net", Does: "/proc/PID/ns/net of adit, its ancestors and a neighbour", Control: Root, try: tryEnter("net", unix.CLONE_NEWNET)},
	&Attempt{Name: "setns-user", Does: "the same, ns/user", Expect: Modes{}.both(refused(unix.EACCES, unix.EPERM, unix.EINVAL)), try: tryEnter("user", unix.CLONE_NEWUSER)},
	&Attempt{Name: "setns-mnt", Does: "the same, ns/mnt", try: tryEnter("mnt", unix.CLONE_NEWNS)},
	&Attempt{Name: "setns-pidfd", Does: "pidfd_open, then setns", Control: Root, try: tryEnterPidfd},
	nested(0, &Attempt{Name: "setns-nested", Does: "/proc/PID/ns/net with the capabilities of a nested namespace", try: tryEnter("net", unix.CLONE_NEWNET)}),
	nested(0, &Attempt{Name: "setns-pidfd-nested", Does: "pidfd_open and setns with those", try: tryEnterPidfd}),
	&Attempt{Name: "pidfd-namespace", Does: "a process's network namespace by its handle (PIDFD_GET_NET_NAMESPACE), then setns", Control: Root, try: tryPidfdNamespace},
	nested(0, &Attempt{Name: "parent-namespace", Does: "the user namespace that made ours (NS_GET_PARENT)",
		Expect: inEach(refused(unix.EACCES, unix.EPERM)), try: tryParent}),
	&Attempt{Name: "netns-of-device", Does: "the namespace of a device (SIOCGSKNS)", Expect: usual(own(unix.EPERM), refused(unix.EPERM, unix.ENOTTY), refused(unix.EACCES)), try: trySocketNamespace},
	&Attempt{Name: "nsenter", Does: "nsenter(1) into process 1 and adit", Control: Root,
		Expect: inEach(refused(unix.EPERM)), try: tryNsenter},
	&Attempt{Name: "run-netns", Does: "namespaces that ip-netns(8) keeps in /run/netns", Expect: inEach(refused(unix.EPERM, unix.EINVAL, unix.EACCES)), try: tryRunNetns},
	nested(unix.CLONE_NEWNET|unix.CLONE_NEWNS|unix.CLONE_NEWPID, &Attempt{Name: "new-namespaces", Does: "new namespaces inside: a network of their own that leads nowhere",
		Expect: inEach(own(unix.EPERM, unix.ENOSPC)), try: tryNewNetwork}),
)

// outsiders are the processes by which the host might be entered.
func outsiders(w *World) []int { return append(aditsOwn(w), aditsNeighbours(w)...) }

// aditsOwn are adit's processes above and beside us: the engine, who the user has
// started, the keepers.
func aditsOwn(w *World) []int {
	n := len(w.Above)
	if i := engineAbove(w); i >= 0 {
		n = min(i+2, n)
	}
	return append(slices.Clone(w.Above[:n]), keepers(w)...)
}

// engineAbove returns the place of adit's engine among those above us, -1 if it
// is not there.
func engineAbove(w *World) int {
	return slices.IndexFunc(w.Above, func(pid int) bool {
		comm, _ := readable(fmt.Sprintf("/proc/%d/comm", pid))
		return comm == "adit-engine"
	})
}

// aditsNeighbours are other processes outside: one of the same user, those above
// adit, process 1.
func aditsNeighbours(w *World) (list []int) {
	if w.Victim.PID != 0 {
		list = append(list, w.Victim.PID)
	}
	if i := engineAbove(w); i >= 0 && i+2 < len(w.Above) {
		list = append(list, w.Above[i+2:]...)
	}
	if w.Mode != "" {
		list = append(list, 1)
	}
	return list
}

// keepers returns adit's processes that are in our namespaces: of this run, not
// of another one on the machine.
func keepers(w *World) (list []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if comm, err := readable(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && comm == "adit-keeper" && slices.Contains(w.Above, parentOf(pid)) {
			list = append(list, pid)
		}
	}
	return list
}

// overEach tries something with every process of list and returns the first result
// that is no refusal, else the last.
func overEach(w *World, list []int, try func(w *World, pid int) Result) Result {
	last := missing("a process outside")
	for _, pid := range list {
		r := try(w, pid)
		switch {
		case r.Errno == unix.ESRCH: // it is gone
		case r.State != StateRefused:
			return r
		default:
			last = r
		}
	}
	return last
}

func tryEnter(kind string, flag int) func(*World) Result {
	return func(w *World) Result {
		return overEach(w, outsiders(w), func(w *World, pid int) Result {
			path := fmt.Sprintf("/proc/%d/ns/%s", pid, kind)
			fd, err := unix.Open(path, unix.O_RDONLY, 0)
			if err != nil {
				return no("open "+path, err)
			}
			defer unix.Close(fd)
			if flag == unix.CLONE_NEWNS {
				unix.Unshare(unix.CLONE_FS)
			}
			if err := unix.Setns(fd, flag); err != nil {
				return no("setns "+path, err)
			}
			if flag != unix.CLONE_NEWNET {
				return got("setns " + path)
			}
			return enteredNetwork(w)
		})
	}
}

// enteredNetwork is told that setns succeeded: was it the host's network?
func enteredNetwork(w *World) Result {
	if !isHosts(w) {
		return no("setns: no new network", unix.EPERM)
	}
	sendHere(w)
	return got("setns")
}

func tryEnterPidfd(w *World) Result {
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return no("pidfd_open", err)
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return no("setns", err)
		}
		return enteredNetwork(w)
	})
}

// tryPidfdNamespace asks for the namespace itself (linux/pidfd.h, Linux 6.11).
func tryPidfdNamespace(w *World) Result {
	const pidfdGetNetNamespace = 0xff04
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return no("pidfd_open", err)
		}
		defer unix.Close(fd)
		ns, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetNetNamespace, 0)
		if errno != 0 {
			return noSuch("ioctl(PIDFD_GET_NET_NAMESPACE)", errno, unix.ENOTTY)
		}
		defer unix.Close(int(ns))
		if err := unix.Setns(int(ns), unix.CLONE_NEWNET); err != nil {
			return no("setns", err)
		}
		return enteredNetwork(w)
	})
}

// tryParent asks for the namespace around ours, and the one around that
// (ioctl_ns(2)), until it is the host's.
func tryParent(w *World) Result {
	const nsGetParent = 0xb702
	fd, err := unix.Open("/proc/self/ns/user", unix.O_RDONLY, 0)
	if err != nil {
		return no("open", err)
	}
	for {
		parent, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), nsGetParent, 0)
		if errno != 0 {
			return no("ioctl(NS_GET_PARENT)", errno)
		}
		fd = int(parent)
		if err := unix.Setns(fd, unix.CLONE_NEWUSER); err == nil {
			return got("setns")
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Ino == w.UserNS {
			return no("setns", unix.EPERM)
		}
	}
}

// trySocketNamespace asks a socket for its namespace: our own, and only for those
// who rule it.
func trySocketNamespace(w *World) Result {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return no("socket", err)
	}
	ns, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGSKNS, 0)
	if errno != 0 {
		return no("ioctl(SIOCGSKNS)", errno)
	}
	if inode("/proc/self/fd/"+strconv.Itoa(int(ns))) == w.NetNS {
		return got("ioctl(SIOCGSKNS)")
	}
	return ours("ioctl(SIOCGSKNS)")
}

func tryNsenter(w *World) Result {
	path, err := exec.LookPath("nsenter")
	if err != nil {
		return missing("nsenter")
	}
	return overEach(w, outsiders(w), func(w *World, pid int) Result {
		target := strconv.Itoa(pid)
		for _, args := range [][]string{{"-t", target, "-n"}, {"-t", target, "-U", "-n"}, {"-t", target, "-a"}} {
			out, err := exec.Command(path, append(args, "stat", "-L", "-c", "%i", "/proc/self/ns/net")...).Output()
			if err == nil && len(out) > 0 && string(out[:len(out)-1]) == strconv.FormatUint(w.NetNS, 10) {
				return got("nsenter " + target)
			}
		}
		return no("nsenter", unix.EPERM)
	})
}

func tryRunNetns(w *World) Result {
	r := missing("/run/netns")
	for _, dir := range []string{"/run/netns", "/var/run/netns", "/run/docker/netns"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			fd, err := unix.Open(dir+"/"+e.Name(), unix.O_RDONLY, 0)
			if err != nil {
				r = no("open", err)
				continue
			}
			if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
				return got("setns " + e.Name())
			}
			r = no("setns", err)
			unix.Close(fd)
		}
	}
	return r
}

func tryNewNetwork(w *World) Result {
	if isHosts(w) {
		return got("clone")
	}
	if r := sendHere(w); r.State == StateSent {
		return r
	}
	return ours("clone")
}
