package launcher

import (
	"os"

	"golang.org/x/sys/unix"
)

// knobs are the files by which the system's root, and nobody else, changes the
// kernel: the command is that user for them, though it has none of its
// capabilities. Some would let it start a program outside of every namespace
// (core_pattern, binfmt_misc), others change our network.
var knobs = []string{"/proc/sys", "/proc/sysrq-trigger"}

// closeKnobs makes them read-only, as containers do. The mounts are locked for
// the namespace inside.
func closeKnobs() error {
	for _, path := range knobs {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
		const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		if err := unix.Mount("", path, "", flags, ""); err != nil {
			return &os.PathError{Op: "remount", Path: path, Err: err}
		}
	}
	return nil
}

// ownLinks are the parts of /sys that list network devices; the second one is
// what the links of the first lead to.
var ownLinks = []string{"class/net", "devices/virtual/net"}

// showOwnLinks lets /sys list the devices of our network namespace in the place
// of the host's: programs look there for interfaces. It is courtesy and no
// guard; where it cannot be done the host's names are seen, and no more.
func showOwnLinks(r *stageReport) {
	where, err := mountScratch()
	if err != nil {
		return
	}
	defer unix.Unmount(where, unix.MNT_DETACH)
	fresh := where + "/sys"
	if err = os.Mkdir(fresh, 0o700); err == nil {
		err = unix.Mount("sysfs", fresh, "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	for _, dir := range ownLinks {
		if err == nil {
			err = unix.Mount(fresh+"/"+dir, "/sys/"+dir, "", unix.MS_BIND, "")
		}
	}
	if err != nil {
		r.Notes = append(r.Notes, "/sys lists the host's network devices: "+err.Error())
	}
}
