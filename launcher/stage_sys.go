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
		var st unix.Statfs_t
		if unix.Statfs(path, &st) != nil || st.Flags&unix.ST_RDONLY != 0 {
			continue // it is not there, or the container's already
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
		if err := readOnly(path); err != nil {
			return &os.PathError{Op: "remount", Path: path, Err: err}
		}
	}
	return nil
}

// readOnly makes the mount at path read-only and leaves its other flags, which
// may be locked. mount_setattr(2) is of Linux 5.12; before, all flags are said.
func readOnly(path string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, path, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err == unix.ENOSYS {
		const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RELATIME
		return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, "")
	}
	return err
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
