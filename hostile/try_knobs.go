package hostile

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What makes the kernel start a program outside of every namespace. Nothing is
// written but what was there.
var knobAttempts = category("knobs", refused(unix.EACCES, unix.EPERM, unix.EROFS),
	&Attempt{Name: "core-pattern", Does: "a program for core dumps (core_pattern)", try: tryKnob("/proc/sys/kernel/core_pattern")},
	&Attempt{Name: "modprobe", Does: "a program that loads modules (kernel.modprobe)", try: tryKnob("/proc/sys/kernel/modprobe")},
	&Attempt{Name: "hotplug", Does: "a program for new devices (uevent_helper)", try: tryKnob("/sys/kernel/uevent_helper", "/proc/sys/kernel/hotplug")},
	&Attempt{Name: "binfmt", Does: "an interpreter for other people's programs (binfmt_misc)", try: tryKnob("/proc/sys/fs/binfmt_misc/register")},
	&Attempt{Name: "sysrq", Does: "the kernel's emergency keys (sysrq-trigger)", try: tryKnob("/proc/sysrq-trigger")},
	&Attempt{Name: "cgroup-agent", Does: "a program for empty groups (release_agent)", try: tryReleaseAgent},
	&Attempt{Name: "other-proc", Does: "the same by a second mount of /proc", try: tryOtherProc},
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
