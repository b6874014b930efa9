package launcher

import (
	"slices"
	"testing"
)

// Root's knobs are found wherever they are mounted: the second /proc of a chroot,
// a part of one, and what lies below /proc/sys. Control groups stay root's.
func TestEveryKnobIsFound(t *testing.T) {
	mounts := parseMounts(`22 1 8:1 / / rw - ext4 /dev/sda rw
23 22 0:20 / /proc rw shared:5 - proc proc rw
24 23 0:30 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw
25 22 0:20 / /srv/chroot/proc rw - proc proc rw
26 22 0:20 /sys/kernel /srv/kernel rw - proc proc rw
27 22 0:20 /self /srv/self rw - proc proc rw
28 22 0:21 / /sys rw - sysfs sysfs rw
29 22 0:21 /class /srv/class rw - sysfs sysfs rw
30 28 0:22 / /sys/kernel/config rw - configfs configfs rw
31 28 0:23 / /sys/kernel/debug rw - debugfs debugfs rw
32 28 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
`)
	want := []string{"/proc/sys", "/proc/sysrq-trigger", "/srv/chroot/proc/sys", "/srv/chroot/proc/sysrq-trigger"}
	if got := knobPaths(mounts); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var mounted []string
	for _, m := range mounts {
		if m.isKnob() {
			mounted = append(mounted, m.path)
		}
	}
	if want := []string{"/proc/sys/fs/binfmt_misc", "/srv/kernel", "/sys", "/srv/class", "/sys/kernel/config", "/sys/kernel/debug"}; !slices.Equal(mounted, want) {
		t.Errorf("got %q as knobs that are mounted, want %q", mounted, want)
	}
}
