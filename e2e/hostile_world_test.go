package e2e

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/suite"
	"adit/hostile"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Who runs the list of package hostile, in which mode, and what is put on the host
// for it.

// A surrounding is who runs the list.
type surrounding struct {
	name    string
	who     hostile.Who
	wrap    []string // is put before a command of root's
	mode    string   // "" is namespace
	with    []string // options of adit run
	confine []string // options of e2e/confine, in the place of wrap
	veth    bool     // there is no TUN to be had
	dead    bool     // the peer does not answer
	conf    conf
}

// containerCaps are the capabilities of root in a container of Docker's
// (https://docs.docker.com/engine/security/#linux-kernel-capabilities).
const containerCaps = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write"

var surroundings = []surrounding{
	{name: "an ordinary user", who: hostile.User},
	{name: "root of a container", who: hostile.Caps, wrap: []string{"setpriv", "--bounding-set", containerCaps, "--inh-caps", "-all", "--"}},
	{name: "root", who: hostile.Root},
}

// withoutNamespaces are those in which the modes are tried that have none. Of root
// without limits they promise nothing.
func withoutNamespaces() (list []surrounding) {
	for _, mode := range []string{hostile.Seccomp, hostile.Preload} {
		for _, s := range surroundings[:2] {
			s.name, s.mode = mode+" mode, "+s.name, mode
			list = append(list, s)
		}
	}
	// Where descriptors cannot be borrowed, copies are kept.
	return append(list,
		surrounding{name: "seccomp mode, an ordinary user under Docker's filter", who: hostile.User, mode: hostile.Seccomp, confine: []string{"-docker"}},
		surrounding{name: "seccomp mode, root under Docker's filter", who: hostile.Caps, mode: hostile.Seccomp, confine: []string{"-docker", "-caps", "docker"}})
}

// everywhere is each mode, by whoever may try it.
func everywhere() []surrounding { return append(slices.Clone(surroundings), withoutNamespaces()...) }

// in returns the mode of a surrounding.
func (s surrounding) in() string { return cmp.Or(s.mode, hostile.Namespace) }

// moreSurroundings are those that make a difference inside alone.
var moreSurroundings = []surrounding{
	{name: "an ordinary user as root", who: hostile.User, with: []string{"--as-root"}},
	{name: "an ordinary user without TUN", who: hostile.User, veth: true},
	{name: "root without TUN", who: hostile.Root, veth: true},
	{name: "while the peer is dead", who: hostile.User, with: []string{"--wait", "none"}, dead: true},
	{name: "with a tunnel to one network only", who: hostile.User, conf: conf{allowed: "10.9.0.0/24, fd09::/64"}},
}

// command returns argv as whoever runs the list.
func (s surrounding) command(t *testing.T, w *world, argv ...string) *exec.Cmd {
	t.Helper()
	if s.confine != nil {
		return w.confined(t, confinement{confine: s.confine, root: s.who != hostile.User})(argv...)
	}
	if s.who == hostile.User {
		return w.plain(argv...)
	}
	argv = append(slices.Clone(s.wrap), argv...)
	return w.Root().Command(argv[0], argv[1:]...)
}

// eachSurrounding runs f in every surrounding that there can be here.
func eachSurrounding(t *testing.T, list []surrounding, f func(*testing.T, *world, surrounding)) {
	w := enter(t)
	for _, s := range list {
		t.Run(s.name, func(t *testing.T) {
			if (s.who != hostile.User || s.confine != nil) && !lab.AsRoot() {
				suite.Skip(t, "the tests were not started by root")
			}
			if s.wrap != nil {
				suite.Need(t, s.wrap[0])
			}
			if s.veth {
				if err := lab.MountTUN(0); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { lab.UnmountTUN() }) // when what is over it is gone
			}
			if s.dead {
				w.killPeer(t)
			}
			f(t, w, s)
		})
	}
}

// run returns "adit run OPTIONS -- " and the named attempts, which the process
// inside makes. Preload mode takes no static program: a shell becomes it.
func (s surrounding) run(t *testing.T, w *world, h *hostile.Host, options []string, names ...string) *exec.Cmd {
	t.Helper()
	argv := append([]string{w.adit, "run", "--mode=" + s.in(), "-c", s.conf.write(t, w)}, s.with...)
	argv = append(append(argv, options...), "--")
	inside := insideArgs(t, w, h, names...)
	if s.mode == hostile.Preload {
		inside = append(hostile.ByShell(inside[0]), inside[1:]...)
	}
	return s.command(t, w, append(argv, inside...)...)
}

// hostileWatch puts on the host what the attempts aim at, and watches. mode is the
// one that is to be tried, "" without adit.
func (w *world) hostileWatch(t *testing.T, s surrounding, mode string) *hostile.Host {
	t.Helper()
	dir := filepath.Join(w.User.Home, "attempts")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h, err := hostile.Watch(hostile.World{
		Mode: mode,
		Far4: lab.ElsewhereV4, Far6: lab.ElsewhereV6, Near4: lab.ServerV4.Addr(), Near6: lab.ServerV6.Addr(),
		Nameserver: lab.NameserverV4, Domain: "web.test", ResolvConf: lab.ResolvConf, Helper: w.cProgram(t),
		Static: w.cProgram(t, "-static", "-DSTATIC"),
	}, dir, func(args ...string) *exec.Cmd { return s.command(t, w, append([]string{w.adit}, args...)...) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() }) // of a test that has failed
	if ok, why := h.Captures(); !ok {
		t.Fatalf("no capture: %v", why)
	}
	for _, path := range []string{"/run/nscd/socket", resolvedSocket, "/run/avahi-daemon/socket", "/run/samba/winbindd/pipe"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), h.ListenUnix(path)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(filepath.Dir(path)) })
	}
	if lab.AsRoot() {
		// What a port is taken for where nobody is said to listen, somebody may.
		for _, port := range []uint16{1, 9} {
			if err := h.ListenEverywhere(port); err != nil {
				t.Fatal(err)
			}
		}
	}
	if lab.AsRoot() {
		w.ownDev(t)
		w.addTAP(t, s)
	}
	switch {
	case !lab.AsRoot():
	case s.mode == "":
		w.mountMore(t)
	case s.who == hostile.Caps:
		readOnly(t, "/proc/sys", "/proc/sysrq-trigger", "/sys")
	}
	return h
}

// addTAP adds a device as it is made for a virtual machine of whoever runs the list.
func (w *world) addTAP(t *testing.T, s surrounding) {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return // nobody can use one then
	}
	const name = "attempt9"
	owner := uint32(0)
	if s.who == hostile.User {
		owner = uint32(w.User.UID)
	}
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI, Owner: owner, Group: owner}
	if err := netlink.LinkAdd(tap); err != nil {
		t.Fatal(err)
	}
	for _, f := range tap.Fds {
		f.Close()
	}
	t.Cleanup(func() { netlink.LinkDel(tap) })
	// It is to say nothing itself.
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err := errors.Join(err, netlink.LinkSetUp(tap)); err != nil {
		t.Fatal(err)
	}
}

// readOnly makes what root of a container finds read-only so for all, with what is
// mounted below.
func readOnly(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue // the kernel has none
		}
		if err != nil {
			t.Fatalf("bind %s: %v", path, err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &attr); err != nil {
			t.Fatalf("make %s read-only: %v", path, err)
		}
	}
}

// mountMore mounts what many a host has and the lab has not: a second /proc, for a
// chroot, interpreters of foreign programs, a network namespace of ip-netns(8).
func (w *world) mountMore(t *testing.T) {
	t.Helper()
	const file = "/run/netns/host"
	proc := filepath.Join(w.Dir, "chroot", "proc")
	err := errors.Join(os.MkdirAll(proc, 0o755), os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o444))
	if err != nil {
		t.Fatal(err)
	}
	const binfmt = "/proc/sys/fs/binfmt_misc"
	for _, m := range []struct{ what, where, kind string }{
		{"proc", proc, "proc"}, {"binfmt_misc", binfmt, "binfmt_misc"}, {"debugfs", "/sys/kernel/debug", "debugfs"}, {"/proc/thread-self/ns/net", file, ""},
	} {
		flags := uintptr(0)
		if m.kind == "" {
			flags = unix.MS_BIND
		}
		if err := unix.Mount(m.what, m.where, m.kind, flags, ""); err != nil {
			if (m.kind == "binfmt_misc" || m.kind == "debugfs") && (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)) {
				continue // the kernel has none
			}
			t.Fatalf("mount %s: %v", m.where, err)
		}
		t.Cleanup(func() { unix.Unmount(m.where, unix.MNT_DETACH) })
	}
}

// ownDev puts a /dev over that of the machine that has all of it, and an RDMA
// device besides.
func (w *world) ownDev(t *testing.T) {
	t.Helper()
	dir := filepath.Join(w.Dir, "dev")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(dir, 0o755))
	must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	entries, err := os.ReadDir("/dev")
	must(err)
	for _, e := range entries {
		from, to := filepath.Join("/dev", e.Name()), filepath.Join(dir, e.Name())
		switch {
		case e.Name() == "ptmx": // it looks for its pts beside it
			must(unix.Mknod(to, unix.S_IFCHR, int(unix.Mkdev(5, 2))))
			must(os.Chmod(to, 0o666))
			continue
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			must(err)
			must(os.Symlink(target, to))
			continue
		case e.IsDir():
			must(os.Mkdir(to, 0o755))
		default:
			must(os.WriteFile(to, nil, 0))
		}
		must(unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""))
	}
	must(os.Mkdir(filepath.Join(dir, "infiniband"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "infiniband", "uverbs0"), nil, 0o666))
	must(os.Chmod(filepath.Join(dir, "infiniband", "uverbs0"), 0o666)) // whatever the umask
	must(unix.Mount(dir, "/dev", "", unix.MS_BIND|unix.MS_REC, ""))
	t.Cleanup(func() { unix.Unmount("/dev", unix.MNT_DETACH) })
}

// cProgram compiles the C part of the list, "" where there is no compiler.
func (w *world) cProgram(t *testing.T, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Log("no C compiler: the attempts in C are left out")
		return ""
	}
	path := filepath.Join(w.Dir, "attempt"+strings.Join(flags, ""))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args := append([]string{"-O1", "-Wall", "-o", path, "../hostile/c/attempt.c", "../hostile/c/around.c"}, flags...)
	out, err := exec.Command("gcc", append(args, "-lresolv", "-lpthread", "-ldl")...).CombinedOutput()
	switch {
	case err != nil && flags != nil:
		t.Logf("no static C library: its attempts are left out: %v", err)
		return ""
	case err != nil:
		t.Fatalf("compile the attempts in C: %v\n%s", err, out)
	}
	return path
}

// oracle watches for packets that are not the tunnel's. Without a namespace the
// command's connections begin on lo.
func (s surrounding) oracle() (*oracle.Oracle, error) {
	if s.mode == "" {
		return oracle.Watch(endpoints)
	}
	return oracle.Watch(endpoints, oracle.AllowLoopbackTCP())
}
