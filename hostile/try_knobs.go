package hostile

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What makes the kernel start a program outside of every namespace. Nothing is
// written but what was there.
var knobAttempts = category("knobs", inEach(refused(unix.EACCES, unix.EPERM, unix.EROFS)),
	&Attempt{Name: "core-pattern", Does: "a program for core dumps (core_pattern)", ByRoot: true, try: tryKnob("/proc/sys/kernel/core_pattern")},
	&Attempt{Name: "modprobe", Does: "a program that loads modules (kernel.modprobe)", ByRoot: true, try: tryKnob("/proc/sys/kernel/modprobe")},
	&Attempt{Name: "hotplug", Does: "a program for new devices (uevent_helper)", ByRoot: true, try: tryKnob("/sys/kernel/uevent_helper", "/proc/sys/kernel/hotplug")},
	&Attempt{Name: "binfmt", Does: "an interpreter for other people's programs (binfmt_misc)", ByRoot: true, try: tryKnob("/proc/sys/fs/binfmt_misc/register")},
	&Attempt{Name: "sysrq", Does: "the kernel's emergency keys (sysrq-trigger)", ByRoot: true, try: tryKnob("/proc/sysrq-trigger")},
	&Attempt{Name: "kernel-files", Does: "files of the kernel's by which it sends or lets drivers go (sysfs, debugfs, tracefs, nfsd)", ByRoot: true, try: tryKernelFiles},
	&Attempt{Name: "kernel-objects", Does: "make a netconsole, or another object of the kernel's (configfs)", ByRoot: true, try: tryConfigfs},
	&Attempt{Name: "cgroup-agent", Does: "a program for empty groups (release_agent)", ByRoot: true, try: tryReleaseAgent},
	&Attempt{Name: "other-proc", Does: "the same by a second mount of /proc", ByRoot: true, try: tryOtherProc},
)

// tryKnob opens the files for writing.
func tryKnob(paths ...string) func(*World) Result {
	return func(*World) Result {
		r := missing(paths[0])
		for _, path := range paths {
			fd, err := unix.Open(path, unix.O_WRONLY, 0)
			if err == nil {
				unix.Close(fd)
				return got("open " + path)
			}
			if err != unix.ENOENT {
				r = no("open "+path, err)
			}
		}
		return r
	}
}

// tryReleaseAgent writes to the file what stands in it: the right is looked at
// when it is written.
func tryReleaseAgent(*World) Result {
	files, _ := filepath.Glob("/sys/fs/cgroup/*/release_agent")
	r := missing("release_agent")
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if err := os.WriteFile(path, append(b, '\n'), 0); err != nil {
			r = no("write "+path, err)
			continue
		}
		return got("write " + path)
	}
	return r
}

// tryOtherProc looks at all that is mounted for another /proc.
func tryOtherProc(w *World) Result {
	r := missing("another /proc")
	for _, dir := range mountsOf("proc") {
		if dir == "/proc" {
			continue
		}
		one := tryKnob(dir+"/sys/kernel/core_pattern", dir+"/kernel/core_pattern", dir+"/sysrq-trigger", dir+"/core_pattern")(w)
		if one.State != StateAbsent {
			r = one
		}
		if one.State == StateGot {
			return one
		}
	}
	return r
}

// tryKernelFiles opens, wherever they are mounted, files that only root may write
// and that are not part of any namespace.
func tryKernelFiles(w *World) Result {
	r := missing("such files")
	for kind, patterns := range map[string][]string{
		"sysfs":   {"bus/*/drivers_probe", "bus/pci/rescan", "kernel/rcu_expedited", "kernel/sunrpc/xprt-switches/*/*/dstaddr"},
		"debugfs": {"clear_warn_once", "dynamic_debug/control", "sleep_time", "fault_around_bytes"},
		"tracefs": {"tracing_on", "kprobe_events"},
		"nfsd":    {"portlist", "threads"},
	} {
		for _, dir := range mountsOf(kind) {
			for _, pattern := range patterns {
				files, _ := filepath.Glob(filepath.Join(dir, pattern))
				for _, path := range files {
					one := tryKnob(path)(w)
					if one.State == StateGot {
						return one
					}
					if one.State != StateAbsent {
						r = one
					}
				}
			}
		}
	}
	return r
}

// tryConfigfs asks whether it may make something. It makes nothing.
func tryConfigfs(*World) Result {
	r := missing("configfs")
	for _, dir := range mountsOf("configfs") {
		for _, sub := range []string{"netconsole", "nvmet/ports", "target", "dlm", ""} {
			err := unix.Access(filepath.Join(dir, sub), unix.W_OK)
			if err == nil {
				return got("write in " + filepath.Join(dir, sub))
			}
			if err != unix.ENOENT {
				r = no("write in "+filepath.Join(dir, sub), err)
			}
		}
	}
	return r
}
