package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// arrangeMounts changes what is mounted, for this thread and what it becomes.
func arrangeMounts() error {
	if !*noTUN && !*readOnly && !*apparmor && *jail == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	// Before anything else: no mount of ours may appear outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if *noTUN {
		if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"); err != nil {
			return fmt.Errorf("/dev/net: %w", err)
		}
	}
	if *apparmor {
		if err := sayRestricted(); err != nil {
			return err
		}
	}
	if *readOnly {
		if err := closeProcSys(); err != nil {
			return err
		}
	}
	if *jail != "" {
		return enterJail(*jail)
	}
	return nil
}

// closeProcSys makes /proc/sys read-only, as containers have it.
func closeProcSys() error {
	const sys = "/proc/sys"
	if err := unix.Mount(sys, sys, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", sys, err)
	}
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(sys, sys, "", flags, ""); err != nil {
		return fmt.Errorf("%s: %w", sys, err)
	}
	return nil
}

// sayRestricted covers /proc/sys/kernel by a folder in which AppArmor's switch is on;
// the filter does the rest.
func sayRestricted() error {
	const kernel = "/proc/sys/kernel"
	if err := unix.Mount("tmpfs", kernel, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("%s: %w", kernel, err)
	}
	return os.WriteFile(kernel+"/apparmor_restrict_unprivileged_userns", []byte("1\n"), 0o644)
}

// enterJail makes dir the root, with all folders of the real one, each mounted
// there. dir itself is no mount: as with most chroots, that is how one can tell.
func enterJail(dir string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join("/", e.Name()), filepath.Join(dir, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil && !os.IsExist(err) {
				return err
			}
		case e.IsDir():
			if err := os.Mkdir(to, 0o755); err != nil && !os.IsExist(err) {
				return err
			}
			if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("mount %s: %w", from, err)
			}
		}
	}
	if err := unix.Chroot(dir); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return unix.Chdir(cwd)
}
