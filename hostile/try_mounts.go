package hostile

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Taking off what is over the host's resolver: mounts, and the ways around them.
var mountAttempts = category("mounts", inEach(refused(unix.EPERM, unix.EINVAL, unix.EACCES)),
	&Attempt{Name: "umount-etc", Does: "umount /etc/resolv.conf and /etc", try: tryUmount("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc")},
	nested(unix.CLONE_NEWNS, &Attempt{Name: "umount-etc-nested", Does: "the same in a mount namespace of its own", try: tryUmount("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc")}),
	&Attempt{Name: "umount-resolvers", Does: "umount what covers the resolvers' sockets", try: tryUmount(coveredDirs...)},
	nested(unix.CLONE_NEWNS, &Attempt{Name: "umount-resolvers-nested", Does: "the same in a mount namespace of its own", try: tryUmount(coveredDirs...)}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "bind-around", Does: "bind / and /run elsewhere without what is mounted below",
		Expect: inEach(own(unix.EPERM, unix.EINVAL, unix.EACCES)), try: tryBindAround}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "tree-around", Does: "the same by open_tree(2)",
		Expect: Modes{}.both(own(unix.EPERM, unix.EINVAL, unix.EACCES)), try: tryTreeAround}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "move-cover", Does: "move the covers away", try: tryMoveCover}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "pivot-root", Does: "pivot_root, then look behind the old root", Expect: inEach(refused(unix.EPERM, unix.EINVAL, unix.EACCES, unix.ENOENT)), try: tryPivot}),
	nested(unix.CLONE_NEWNS, &Attempt{Name: "remount-cover", Does: "make the covers writable", try: tryRemountCover}),
	nested(unix.CLONE_NEWNS|unix.CLONE_NEWPID, &Attempt{Name: "proc-fresh", Does: "a /proc of its own, without what is read-only in ours", ByRoot: true,
		Expect: inEach(own(unix.EPERM, unix.EBUSY)), try: tryFreshProc}),
	&Attempt{Name: "chroot-out", Does: "chroot, and out of it by a directory that was open",
		Expect: inEach(refused(unix.ENOENT, unix.EPERM)), try: tryChrootOut},
	nested(unix.CLONE_NEWNS, &Attempt{Name: "by-handle", Does: "covered directories by their handle (open_by_handle_at)",
		Expect: inEach(refused(unix.EPERM, unix.ESTALE, unix.EOPNOTSUPP, unix.ENOENT)), try: tryByHandle}),
	&Attempt{Name: "rename-cover", Does: "rename the covered directories",
		Expect: inEach(refused(unix.EACCES, unix.EPERM, unix.EBUSY, unix.ENOENT, unix.EROFS)), try: tryRename},
	&Attempt{Name: "host-resolv-conf", Does: "the host's resolv.conf in the place of ours", Expect: inNamespace(refused(unix.ENOENT)).both(nothing()), try: tryHostResolvConf},
)

// coveredDirs are the directories of resolvers' sockets.
var coveredDirs = []string{"/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon"}

// uncovered reports whether the host's resolvers are within reach below dir.
func uncovered(w *World, dir string) bool {
	if w.ResolvConf != "" && w.Mode == Namespace { // elsewhere it may be read, and its nameservers are adit's
		if b, err := os.ReadFile(dir + "/etc/resolv.conf"); err == nil && string(b) == w.ResolvConf {
			return true
		}
	}
	for _, path := range []string{"/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve", "/run/avahi-daemon/socket"} {
		var st unix.Stat_t
		if unix.Stat(dir+path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return connectUnix(w, dir+path).State == StateGot
		}
	}
	return false
}

func tryUmount(paths ...string) func(*World) Result {
	return func(w *World) Result {
		r := missing("something mounted")
		for _, path := range paths {
			for _, flag := range []int{0, unix.MNT_DETACH} {
				err := unix.Unmount(path, flag)
				if err == nil && uncovered(w, "") {
					return got("umount " + path)
				}
				if err != nil && err != unix.ENOENT {
					r = no("umount "+path, err)
				}
			}
		}
		return r
	}
}

// scratch mounts a tmpfs that is ours on /tmp and returns a folder in it.
func scratch() (string, error) {
	unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""); err != nil {
		return "", err
	}
	const dir = "/tmp/attempt"
	return dir, os.Mkdir(dir, 0o755)
}

func tryBindAround(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	r := ours("bind")
	for _, from := range []string{"/", "/run", "/etc", "/run/systemd"} {
		for _, flag := range []uintptr{0, unix.MS_REC} {
			err := unix.Mount(from, dir, "", unix.MS_BIND|flag, "")
			if err == unix.ENOENT {
				continue
			}
			if err != nil {
				r = no("bind "+from, err)
				continue
			}
			under := dir
			if from == "/run" && linkRun(dir) {
				under = "/tmp/view"
			}
			if uncovered(w, under) {
				return got("bind " + from)
			}
			tryUmount(dir+"/run/nscd", dir+"/nscd", dir+"/etc")(w)
			if uncovered(w, under) {
				return got("umount below a bind of " + from)
			}
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	return r
}

// linkRun makes a folder in which run is dir.
func linkRun(dir string) bool {
	os.Mkdir("/tmp/view", 0o755)
	os.Remove("/tmp/view/run")
	return os.Symlink(dir, "/tmp/view/run") == nil
}

func tryTreeAround(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	r := ours("open_tree")
	for _, from := range []string{"/", "/run", "/etc"} {
		fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE)
		if err != nil {
			r = no("open_tree "+from, err)
			continue
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			r = no("move_mount "+from, err)
			continue
		}
		linkRun(dir)
		if uncovered(w, dir) || from == "/run" && uncovered(w, "/tmp/view") {
			return got("open_tree " + from)
		}
		unix.Unmount(dir, unix.MNT_DETACH)
	}
	return r
}

func tryMoveCover(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	r := missing("something mounted")
	for _, cover := range append([]string{"/etc/resolv.conf", "/etc"}, coveredDirs...) {
		if err := unix.Mount(cover, dir, "", unix.MS_MOVE, ""); err != nil && err != unix.ENOENT {
			r = no("move "+cover, err)
		} else if err == nil && uncovered(w, "") {
			return got("move " + cover)
		}
	}
	return r
}

func tryPivot(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return no("mount", err)
	}
	if err := os.Mkdir(dir+"/old", 0o755); err != nil {
		return no("mkdir", err)
	}
	if err := unix.PivotRoot(dir, dir+"/old"); err != nil {
		return no("pivot_root", err)
	}
	tryUmount("/old/etc", "/old/etc/resolv.conf", "/old/run/nscd", "/old/run/systemd/resolve")(w)
	if uncovered(w, "/old") {
		return got("umount behind pivot_root")
	}
	if err := unix.Unmount("/old/run/nscd", unix.MNT_DETACH); err != nil {
		return no("umount", err)
	}
	return ours("pivot_root")
}

func tryRemountCover(w *World) Result {
	r := missing("something mounted")
	for _, cover := range coveredDirs {
		var fs unix.Statfs_t
		if unix.Statfs(cover, &fs) != nil || fs.Flags&unix.ST_RDONLY == 0 {
			continue
		}
		for _, flags := range []uintptr{unix.MS_REMOUNT, unix.MS_REMOUNT | unix.MS_BIND} {
			if err := unix.Mount("", cover, "", flags, ""); err != nil {
				r = no("remount "+cover, err)
			} else if f, err := os.Create(cover + "/attempt"); err == nil {
				f.Close()
				return got("remount " + cover)
			}
		}
	}
	return r
}

// tryFreshProc mounts a proc(5) and looks whether the kernel's knobs are
// writable there.
func tryFreshProc(w *World) Result {
	dir, err := scratch()
	if err != nil {
		return no("mount", err)
	}
	if err := unix.Mount("proc", dir, "proc", 0, ""); err != nil {
		return no("mount proc", err)
	}
	fd, err := unix.Open(dir+"/sys/kernel/core_pattern", unix.O_WRONLY, 0)
	if err == nil {
		unix.Close(fd)
		return got("open core_pattern")
	}
	return ours("mount proc")
}

// tryChrootOut is the classic way out of a chroot: it leads to the root of the
// mount namespace, which is ours.
func tryChrootOut(w *World) Result {
	root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return no("open /", err)
	}
	if err := unix.Chroot("/usr"); err != nil {
		return no("chroot", err)
	}
	unix.Fchdir(root)
	for range 64 {
		unix.Chdir("..")
	}
	unix.Chroot(".")
	if uncovered(w, "") {
		return got("chroot")
	}
	return no("look for the host's files", unix.ENOENT)
}

// tryByHandle takes the handle of the covered directory's parent and asks for
// its neighbours by number.
func tryByHandle(w *World) Result {
	r := missing("handles")
	for _, dir := range []string{"/run", "/etc"} {
		handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
		if err != nil {
			r = noSuch("name_to_handle_at "+dir, err)
			continue
		}
		mount, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return no("open "+dir, err)
		}
		fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			r = no("open_by_handle_at", err)
			continue
		}
		linkRun("/proc/self/fd/" + strconv.Itoa(fd))
		if uncovered(w, "/tmp/view") {
			return got("open_by_handle_at")
		}
	}
	return r
}

// tryRename moves the covered directories to another name, at which there is no
// cover, and back.
func tryRename(w *World) Result {
	r := missing("the directory of a resolver")
	for _, dir := range coveredDirs {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		err := unix.Rename(dir, dir+".attempt")
		if err == nil {
			seen := connectUnix(w, dir+".attempt/socket").State == StateGot
			unix.Rename(dir+".attempt", dir)
			if seen {
				return got("rename " + dir)
			}
		} else {
			r = no("rename "+dir, err)
		}
	}
	return r
}

// tryHostResolvConf looks for the host's file under the names that adit might
// have left it.
func tryHostResolvConf(w *World) Result {
	if w.ResolvConf == "" {
		return missing("a resolv.conf of the host's")
	}
	for _, path := range []string{"/etc/resolv.conf", "/run/resolv.conf", "/proc/self/root/etc/resolv.conf", "/proc/thread-self/root/etc/resolv.conf"} {
		if b, err := os.ReadFile(path); err == nil && string(b) == w.ResolvConf {
			return got(path)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 5 {
			if b, err := os.ReadFile(f[4] + "/resolv.conf"); err == nil && string(b) == w.ResolvConf {
				return got(f[4] + "/resolv.conf")
			}
		}
	}
	return no("look for the host's resolv.conf", unix.ENOENT)
}
