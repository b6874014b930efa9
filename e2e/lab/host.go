package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Lab is the two machines.
type Lab struct {
	Dir    string     // everybody may look into it
	User   User       // the ordinary user of the host
	Server *Namespace // the server's network
}

// Setup builds the lab around this process, which [Enter] has started.
func Setup() (*Lab, error) {
	l := &Lab{Dir: os.Getenv(insideVar)}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := l.mountEtc(); err != nil {
		return nil, fmt.Errorf("/etc of its own: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return nil, fmt.Errorf("/run of its own: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("/dev/shm of its own: %w", err)
	}
	if err := l.addUser(); err != nil {
		return nil, fmt.Errorf("add a user: %w", err)
	}
	if AsRoot() {
		if err := MountTUN(0o666); err != nil {
			return nil, err
		}
	}
	var err error
	if l.Server, err = NewNamespace(); err != nil {
		return nil, fmt.Errorf("the server: %w", err)
	}
	if err := lay(l.Server); err != nil {
		return nil, fmt.Errorf("lay the cable: %w", err)
	}
	return l, nil
}

// MountTUN covers /dev/net with one that holds a tun node of that mode, or is
// empty if mode is zero. Only root can make a node: in a lab of somebody else
// it is a file that nobody may open.
func MountTUN(mode os.FileMode) error {
	if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("/dev/net of its own: %w", err)
	}
	if mode == 0 {
		return nil
	}
	const tun = "/dev/net/tun"
	if !AsRoot() {
		return os.WriteFile(tun, nil, 0)
	}
	// misc, 200: Documentation/admin-guide/devices.txt
	if err := unix.Mknod(tun, unix.S_IFCHR, int(unix.Mkdev(10, 200))); err != nil {
		return fmt.Errorf("mknod %s: %w", tun, err)
	}
	return os.Chmod(tun, mode)
}

// UnmountTUN takes the last MountTUN back.
func UnmountTUN() error { return unix.Unmount("/dev/net", unix.MNT_DETACH) }

// mountEtc replaces /etc by a copy on a tmpfs, without mounts on its files,
// whose resolv.conf names the server outside of the tunnel.
func (l *Lab) mountEtc() error {
	dir := filepath.Join(l.Dir, "etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	if err := copyTree("/etc", dir); err != nil {
		return err
	}
	conf := filepath.Join(dir, "resolv.conf")
	os.Remove(conf) // a symbolic link on many systems
	if err := os.WriteFile(conf, []byte(ResolvConf), 0o644); err != nil {
		return err
	}
	nsswitch := "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n"
	if err := os.WriteFile(filepath.Join(dir, "nsswitch.conf"), []byte(nsswitch), 0o644); err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	return unix.Mount(dir, "/etc", "", unix.MS_MOVE, "")
}

// ResolvConf is the host's resolv.conf.
var ResolvConf = "nameserver " + NameserverV4.String() + "\noptions timeout:2 attempts:1\n"

// copyTree copies folders, symbolic links and small files that can be read,
// with mode and, as root, owner.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // it went away
		}
		target := to + strings.TrimPrefix(path, from)
		switch {
		case path == from:
			return nil
		case d.IsDir():
			err = os.Mkdir(target, info.Mode().Perm()|0o700)
		case d.Type() == fs.ModeSymlink:
			var link string
			if link, err = os.Readlink(path); errors.Is(err, fs.ErrNotExist) {
				return nil // it went away
			}
			if err == nil {
				err = os.Symlink(link, target)
			}
		case d.Type().IsRegular() && info.Size() < 4<<20:
			var b []byte
			if b, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
				return nil // it went away
			}
			if err == nil {
				err = os.WriteFile(target, b, info.Mode().Perm())
			}
			if errors.Is(err, fs.ErrPermission) {
				return nil
			}
		default:
			return nil
		}
		if err == nil && AsRoot() {
			st := info.Sys().(*syscall.Stat_t)
			err = os.Lchown(target, int(st.Uid), int(st.Gid))
		}
		return err
	})
}
