package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// resolverDirs are the directories of the sockets over which the C library and
// its modules ask a resolver daemon of the host: nscd, systemd-resolved by
// varlink, avahi. Unix sockets of the file system do not care about network
// namespaces, so these would be ways out for names. The directories are masked,
// not the sockets: a daemon that starts again makes a new socket. One that makes
// its directory anew as well is the keeper's business.
var resolverDirs = []string{
	"/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon", "/run/nsncd",
	"/var/run/nscd", "/var/run/avahi-daemon", "/var/db/nscd", "/var/cache/nscd",
}

// maskedDirs are the resolvers' directories, and that of RDMA devices: their packets
// pass the network stack by, and with it network namespaces.
var maskedDirs = append([]string{"/dev/infiniband"}, resolverDirs...)

// maskAll masks every one of maskedDirs that is there and not masked, under
// each of its names: /run may be mounted a second time elsewhere, as in a
// container that is given the host's. What cannot be masked does not keep it
// from the others.
func maskAll(resolvConf string) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	return maskEach(maskedDirs, mounts, func(name string) error {
		if masked(name) {
			return nil
		}
		return mask(name, resolvConf)
	})
}

// maskEach calls mask for every name of each of dirs and joins the errors.
func maskEach(dirs []string, mounts []mountPoint, mask func(name string) error) error {
	var failed []error
	for _, dir := range dirs {
		for i, name := range namesOf(dir, mounts) {
			err := mask(name)
			if i > 0 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT)) {
				continue // a name that the command cannot use either
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(failed...)
}

// maskSize is the size in bytes of a mask's tmpfs, by which it is known.
const maskSize = 64 << 10

// mask puts a read-only directory over dir, if there is one. A link is followed:
// what it leads to is masked. In the directory of systemd-resolved stand, as
// there, the files to which /etc/resolv.conf may be a link.
func mask(dir, resolvConf string) error {
	st, err := os.Stat(dir)
	if err != nil || !st.IsDir() {
		return nil
	}
	options := fmt.Sprintf("mode=0755,size=%d", maskSize)
	if err := unix.Mount("tmpfs", dir, "tmpfs", maskFlags, options); err != nil {
		return os.NewSyscallError("mount", err)
	}
	// The host may make the directory anew at any time: from here on it is the
	// mask itself that is spoken of, or it would be the host's that is written to.
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if !isMask(&fs) {
		return fmt.Errorf("the mask is gone: %w", unix.ENOENT)
	}
	itself := fmt.Sprintf("/proc/self/fd/%d", fd)
	if strings.HasSuffix(dir, "/resolve") {
		err = writeEtc(itself, []etcFile{{"stub-resolv.conf", resolvConf, 0o644}, {"resolv.conf", resolvConf, 0o644}})
	}
	if err == nil {
		err = os.NewSyscallError("remount", unix.Mount("", itself, "", unix.MS_REMOUNT|unix.MS_RDONLY|maskFlags, options))
	}
	if err != nil {
		unix.Unmount(itself, unix.MNT_DETACH) // or another try would lie on top of it
	}
	return err
}

const maskFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// masked reports whether there is nothing at dir but a mask of ours.
func masked(dir string) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return true // nothing there
	}
	return isMask(&fs) && fs.Flags&unix.ST_RDONLY != 0
}

// isMask reports whether a file system is a mask of ours, finished or not.
func isMask(fs *unix.Statfs_t) bool {
	return fs.Type == unix.TMPFS_MAGIC && fs.Blocks*uint64(fs.Bsize) == maskSize
}

// A mountPoint is a line of mountinfo (proc(5)).
type mountPoint struct {
	device string // major:minor of the file system
	root   string // the directory in it that is mounted
	path   string // where
	kind   string // the file system's type
}

func readMounts() ([]mountPoint, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(b)), nil
}

// parseMounts reads mountinfo: ID, parent, device, root, path, options, fields of
// any number, "-", type, …
func parseMounts(text string) []mountPoint {
	var mounts []mountPoint
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if i := slices.Index(f, "-"); i > 5 && i+1 < len(f) {
			mounts = append(mounts, mountPoint{f[2], unescape.Replace(f[3]), unescape.Replace(f[4]), f[i+1]})
		}
	}
	return mounts
}

// unescape undoes what mountinfo does to characters that separate its fields.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// namesOf returns the paths at which dir can be reached, dir itself first: the
// mount that its parent lies in, and every other mount of the same part of the
// same file system.
func namesOf(dir string, mounts []mountPoint) []string {
	names := []string{dir}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return names
	}
	real := filepath.Join(parent, filepath.Base(dir))
	var home mountPoint
	for _, m := range mounts {
		// The last of equal ones is on top.
		if _, ok := below(parent, m.path); ok && len(m.path) >= len(home.path) {
			home = m
		}
	}
	if home.path == "" {
		return names
	}
	rest, _ := below(real, home.path)
	inside := filepath.Join(home.root, rest)
	for _, m := range mounts {
		if rest, ok := below(inside, m.root); ok && m.device == home.device {
			if name := filepath.Join(m.path, rest); name != dir {
				names = append(names, name)
			}
		}
	}
	return names
}

// below reports whether path is dir or lies below it, and where.
func below(path, dir string) (rest string, ok bool) {
	if dir == "/" {
		return path, true
	}
	rest, ok = strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}
