package launcher

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// knobs are the files, by file system, by which the system's root, and nobody
// else, changes the kernel: the command is that user for them, though it has none
// of its capabilities. Some would let it start a program outside of every
// namespace (core_pattern, uevent_helper, binfmt_misc), others change our network,
// and by others the kernel itself sends from the host's: configfs makes a
// netconsole or a target for disks, nfsd a server, /sys/kernel/sunrpc has the
// address of a mounted server.
var knobs = map[string][]string{
	"proc":        {"/sys", "/sysrq-trigger"},
	"sysfs":       {"/"},
	"configfs":    {"/"},
	"debugfs":     {"/"},
	"tracefs":     {"/"},
	"nfsd":        {"/"},
	"binfmt_misc": {"/"},
}

// knobMagics are what statfs(2) says of those file systems (linux/magic.h, and
// fs/configfs/mount.c and fs/nfsd/nfsctl.c for the last two).
var knobMagics = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.BINFMTFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, 0x62656570, 0x6e667364,
}

// closeKnobs makes them read-only, as containers do, wherever they are mounted:
// a host may have more than one /proc, and mounts below /proc/sys. The mounts are
// locked for the namespace inside.
func closeKnobs() error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, path := range knobPaths(mounts) {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) != nil {
			continue // it is not there
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
	}
	if mounts, err = readMounts(); err != nil {
		return err
	}
	for _, m := range mounts {
		switch {
		case m.kind == "autofs" && filepath.Base(m.path) == "binfmt_misc":
			err = coverAutomount(m.path)
		case m.isKnob():
			err = closeKnob(m.path)
		default:
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// knobPaths returns where the knobs are: below the mounts of whole file systems.
// A mount of a knob alone is one already.
func knobPaths(mounts []mountPoint) (paths []string) {
	for _, m := range mounts {
		for _, knob := range knobs[m.kind] {
			if m.root == "/" && knob != "/" {
				paths = append(paths, filepath.Join(m.path, knob))
			}
		}
	}
	return paths
}

// isKnob reports whether m is a mount of a knob, or of what is below one.
func (m mountPoint) isKnob() bool {
	return slices.ContainsFunc(knobs[m.kind], func(knob string) bool {
		_, ok := below(m.root, knob)
		return ok
	})
}

// closeKnob makes the mount at path read-only. It may be hidden under another one,
// or gone: what counts is what can be seen at path.
func closeKnob(path string) error {
	err := readOnly(path)
	var st unix.Statfs_t
	if err == nil || unix.Statfs(path, &st) != nil || st.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	if !slices.Contains(knobMagics, int64(st.Type)) {
		return nil
	}
	return &os.PathError{Op: "remount", Path: path, Err: err}
}

// coverAutomount puts an empty directory over one that the host mounts when it is
// looked into, and it would come to us writable.
func coverAutomount(path string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if err := unix.Mount("tmpfs", path, "tmpfs", flags, "mode=0755,size=4k"); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "cover", Path: path, Err: err}
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
