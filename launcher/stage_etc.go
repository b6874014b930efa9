package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// furnishEtc puts files over those of /etc, in one of two ways that survive the
// host's replacing a file by renaming another one over it, as systemd-resolved
// and NetworkManager do with resolv.conf: a bind mount would silently be taken
// off then. It returns which way it was.
//
// The files are built on a fresh tmpfs that is mounted over an existing
// directory, and taken off again at the end: nothing of it can be seen later.
func furnishEtc(files []etcFile) (how string, err error) {
	where, err := mountScratch()
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, os.NewSyscallError("umount2", unix.Unmount(where, unix.MNT_DETACH)))
	}()
	upper := where + "/upper"
	if err := writeEtc(upper, files); err != nil {
		return "", err
	}
	// Two lower layers and no upper one: read-only, and as the user cannot
	// write to /etc anyway, nothing is lost. Refused where parts of /etc are
	// mounts of their own, as in containers.
	overlay := unix.Mount("overlay", "/etc", "overlay", unix.MS_NOSUID|unix.MS_NODEV,
		"lowerdir="+upper+":/etc")
	if overlay == nil {
		return "overlay", nil
	}
	if err := copyUpEtc(where+"/copy", files); err != nil {
		return "", fmt.Errorf("overlay: %w; copy of links: %w", overlay, err)
	}
	return "copy of links, because of " + overlay.Error(), nil
}

// mountScratch mounts a tmpfs over the first usable directory.
func mountScratch() (string, error) {
	var first error
	for _, dir := range []string{"/mnt", "/tmp", "/var/tmp", "/srv", "/media"} {
		err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m")
		if err == nil {
			return dir, nil
		}
		if first == nil {
			first = fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
		}
	}
	return "", first
}

// writeEtc writes files below dir.
func writeEtc(dir string, files []etcFile) error {
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.content), f.mode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}

// hostEtc is where the copy of links keeps the real /etc.
const hostEtc = ".host"

// copyUpEtc makes dir a copy of /etc in which every entry is a link into the
// real /etc, bound at .host, and files are real, and moves it over /etc.
func copyUpEtc(dir string, files []etcFile) error {
	if err := os.MkdirAll(dir+"/"+hostEtc, 0o755); err != nil {
		return err
	}
	if err := linkEntries("/etc", dir, hostEtc, files); err != nil {
		return err
	}
	if err := writeEtc(dir, files); err != nil {
		return err
	}
	if err := unix.Mount("/etc", dir+"/"+hostEtc, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /etc: %w", err)
	}
	if err := bindOver(dir, dir+"/"+hostEtc, files); err != nil {
		return err
	}
	if err := unix.Mount(dir, "/etc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind over /etc: %w", err)
	}
	return nil
}

// bindOver binds files, which are below dir, over those of the real /etc, bound at
// host: what the host's say is nobody's business. A link may lead anywhere and
// stays.
func bindOver(dir, host string, files []etcFile) error {
	for _, f := range files {
		if info, err := os.Lstat(filepath.Join(host, f.path)); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := unix.Mount(filepath.Join(dir, f.path), filepath.Join(host, f.path), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind over the host's %s: %w", f.path, err)
		}
	}
	return nil
}

// linkEntries makes in to a link to target/NAME for every entry of from that
// none of files replaces. A directory in which a file is replaced becomes a
// directory of links itself.
func linkEntries(from, to, target string, files []etcFile) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		replaced, below := replacedBy(e.Name(), files)
		path := filepath.Join(to, e.Name())
		switch {
		case replaced:
			continue
		case len(below) > 0 && e.IsDir():
			if err = os.Mkdir(path, 0o755); err == nil {
				err = linkEntries(filepath.Join(from, e.Name()), path, "../"+target+"/"+e.Name(), below)
			}
		case e.Type()&os.ModeSymlink != 0:
			var old string
			if old, err = os.Readlink(filepath.Join(from, e.Name())); err == nil {
				err = os.Symlink(old, path)
			}
		default:
			err = os.Symlink(target+"/"+e.Name(), path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replacedBy reports whether one of files is name itself, and returns those
// that lie below it, with the name cut off.
func replacedBy(name string, files []etcFile) (bool, []etcFile) {
	var below []etcFile
	for _, f := range files {
		if f.path == name {
			return true, nil
		}
		if rest, ok := strings.CutPrefix(f.path, name+"/"); ok {
			below = append(below, etcFile{rest, f.content, f.mode})
		}
	}
	return false, below
}

// bindEtc binds each file over its like in /etc, which stays writable: for
// root, whose programs change /etc for good.
func bindEtc(files []etcFile) (err error) {
	where, err := mountScratch()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.NewSyscallError("umount2", unix.Unmount(where, unix.MNT_DETACH)))
	}()
	if err := writeEtc(where, files); err != nil {
		return err
	}
	for _, f := range files {
		target := "/etc/" + f.path
		if _, err := os.Stat(target); err != nil {
			// A missing file, or a link that leads nowhere, cannot be bound
			// over: the defaults of the C library ask 127.0.0.1 then, or the
			// sockets on loopback answer.
			continue
		}
		if err := unix.Mount(filepath.Join(where, f.path), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind over %s: %w", target, err)
		}
	}
	return nil
}
