package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/suite"
	"adit/hostile"

	"golang.org/x/sys/unix"
)

// The hostile program: the list of package hostile, inside the tunnel and, as
// the negative control, without it, as whoever may run it.

// A surrounding is who runs the list.
type surrounding struct {
	name string
	who  hostile.Who
	wrap []string // is put before a command of root's
	with []string // options of adit run
	veth bool     // there is no TUN to be had
	dead bool     // the peer does not answer
	conf conf
}

// containerCaps are the capabilities of root in a container of Docker's
// (https://docs.docker.com/engine/security/#linux-kernel-capabilities).
const containerCaps = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write"

var surroundings = []surrounding{
	{name: "an ordinary user", who: hostile.User},
	{name: "root of a container", who: hostile.Caps, wrap: []string{"setpriv", "--bounding-set", containerCaps, "--inh-caps", "-all", "--"}},
	{name: "root", who: hostile.Root},
}

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
			if s.who != hostile.User && !lab.AsRoot() {
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

// hostileWatch puts on the host what the attempts aim at, and watches.
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
	}, dir, func(args ...string) *exec.Cmd { return s.command(t, w, append([]string{w.adit}, args...)...) })
	if err != nil {
		t.Fatal(err)
	}
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
		w.mountMore(t)
		w.ownDev(t)
	}
	return h
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
func (w *world) cProgram(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Log("no C compiler: the attempts in C are left out")
		return ""
	}
	path := filepath.Join(w.Dir, "attempt")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	out, err := exec.Command("gcc", "-O1", "-Wall", "-o", path, "../hostile/c/attempt.c", "-lresolv", "-lpthread").CombinedOutput()
	if err != nil {
		t.Fatalf("compile the attempts in C: %v\n%s", err, out)
	}
	return path
}

// attempt runs the named attempts by cmd and returns what they said.
func attemptBy(t *testing.T, h *hostile.Host, cmd *exec.Cmd) []hostile.Result {
	t.Helper()
	cmd.ExtraFiles = h.Inherit()
	r := do(t, cmd)
	var results []hostile.Result
	for line := range bytes.Lines([]byte(r.stdout)) {
		var one hostile.Result
		if err := json.Unmarshal(line, &one); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		results = append(results, one)
	}
	if r.stderr != "" {
		t.Logf("stderr: %s", r.stderr)
	}
	return results
}

// inside returns the hidden command for the named attempts.
func insideArgs(t *testing.T, w *world, h *hostile.Host, names ...string) []string {
	t.Helper()
	text, err := json.Marshal(h.World)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{w.adit, hostile.InsideWord, string(text)}, names...)
}

// pick returns the attempts that good says.
func pick(good func(*hostile.Attempt) bool) (list []*hostile.Attempt, names []string) {
	for _, a := range hostile.All() {
		if good(a) {
			list, names = append(list, a), append(names, a.Name)
		}
	}
	return list, names
}

func isOpen(a *hostile.Attempt) bool { return a.Expect["namespace"].Kind == hostile.Open }

// pingForAll lets everybody send echo requests without privilege, as most
// distributions do.
func pingForAll(t *testing.T) {
	t.Helper()
	const path = "/proc/sys/net/ipv4/ping_group_range"
	before, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte("0 2147483647"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(path, before, 0) })
}

// TestHostileProgramDoesNotGetOut: everything on the list, and nothing is seen on
// any interface of the host but the tunnel.
func TestHostileProgramDoesNotGetOut(t *testing.T) {
	eachSurrounding(t, append(moreSurroundings, surroundings...), func(t *testing.T, w *world, s surrounding) {
		pingForAll(t)
		list, names := pick(func(a *hostile.Attempt) bool { return !isOpen(a) && !a.Alone && !(a.C && w.cProgram(t) == "") })
		h := w.hostileWatch(t, s, "namespace")
		silent := w.wantSilence(t)
		capture := filepath.Join(w.User.Temp, "inner.pcap")
		t.Cleanup(func() { os.Remove(capture) })
		argv := append(append([]string{w.adit, "run", "--pcap", "inner=" + capture, "-c", s.conf.write(t, w)}, s.with...), "--")
		argv = append(argv, insideArgs(t, w, h, names...)...)
		results := attemptBy(t, h, s.command(t, w, argv...))
		through, err := h.World.Through(capture)
		if err != nil {
			t.Error(err)
		}
		// Nothing that is seen outside is excused: the tunnel's other end sends
		// nothing back here.
		rows := hostile.Judge("namespace", list, results, h.Close(), nil)
		wantHeld(t, h, rows)
		silent(through)
		tunnelled := make(map[int]bool)
		for m := range through {
			tunnelled[m.ID] = true
		}
		must := []string{"udp4", "udp6", "tcp4", "tcp6", "udp-sendmmsg", "splice", "ping4", "ping6", "dns-host-udp", "int80-udp"}
		if s.conf.allowed != "" {
			must = nil // to them it is unreachable
		}
		for _, name := range must {
			if a := hostile.Find(name); !tunnelled[a.ID()] && !(strings.HasPrefix(name, "int80") && a.Control == hostile.Nobody) {
				t.Errorf("%s: it did not go into the tunnel; it says %v", name, rows[slices.Index(names, name)].Result)
			}
		}
		t.Logf("%d attempts: %d held, %d not there on this machine; %d of them went through the tunnel",
			len(rows), hostile.Count(rows, hostile.Held), hostile.Count(rows, hostile.Absent), len(tunnelled))
	})
}

// wantSilence lets the oracle judge all packets of the host, until the function
// that it returns is called: only the tunnel may be seen, and nobody may ask the
// host's nameserver but through the tunnel.
func (w *world) wantSilence(t *testing.T) func(through map[hostile.Mark]bool) {
	t.Helper()
	w.hostDNS.Forget()
	o, err := oracle.Watch(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	return func(through map[hostile.Mark]bool) {
		t.Helper()
		r, err := o.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Leaks) > 0 {
			t.Errorf("packets of the host that are not the tunnel's:\n%v", r)
		}
		if r.Tunnel == 0 {
			t.Error("the oracle has seen no packet of the tunnel")
		}
		passed := func(question string) bool {
			for m := range through {
				if strings.HasPrefix(question, m.Key+".") {
					return true
				}
			}
			return false
		}
		if asked := slices.DeleteFunc(w.hostDNS.Asked(), passed); len(asked) > 0 {
			t.Errorf("the host's nameserver was asked for %q", asked)
		}
	}
}

// wantHeld fails for each row that is not as it should be.
func wantHeld(t *testing.T, h *hostile.Host, rows []hostile.Row) {
	t.Helper()
	for _, r := range rows {
		if r.Verdict != hostile.Held && r.Verdict != hostile.Absent {
			t.Errorf("%s (%s): %s, want %v; it says %v %q, seen at %v", r.Attempt.Name, r.Attempt.Does, r.Verdict, r.Expected, r.Result, r.Result.Text, r.Seen)
		}
	}
	if n := h.Lost(); n > 0 {
		t.Errorf("%d packets were not looked at", n)
	}
}

// Attempts that end adit have a run each.
func TestHostileProgramDoesNotGetOutByEndingAdit(t *testing.T) {
	eachSurrounding(t, surroundings, func(t *testing.T, w *world, s surrounding) {
		list, names := pick(func(a *hostile.Attempt) bool { return a.Alone })
		h := w.hostileWatch(t, s, "namespace")
		silent := w.wantSilence(t)
		var results []hostile.Result
		through := make(map[hostile.Mark]bool)
		for _, name := range names {
			capture := filepath.Join(w.User.Temp, "inner.pcap")
			argv := append([]string{w.adit, "run", "--stop-timeout", "2s", "--pcap", "inner=" + capture, "-c", conf{}.write(t, w), "--"}, insideArgs(t, w, h, name)...)
			results = append(results, attemptBy(t, h, s.command(t, w, argv...))...)
			w.untilAlone(t)
			some, err := h.World.Through(capture)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			maps.Copy(through, some)
			os.Remove(capture)
		}
		// As above nothing is excused; that it was made is seen in the tunnel.
		seen := h.Close()
		for _, s := range seen {
			t.Errorf("%s: seen at %s", s.Key, s.Where)
		}
		rows := hostile.Judge("namespace", list, results, seen, through)
		wantHeld(t, h, rows)
		for _, r := range rows {
			if r.Verdict == hostile.Absent {
				t.Errorf("%s: %v", r.Attempt.Name, r.Result)
			}
		}
		silent(through)
		t.Logf("%d attempts: %d held", len(rows), hostile.Count(rows, hostile.Held))
	})
}

// untilAlone waits until what a run has left behind is gone: an attempt goes on
// when adit has been killed.
func (w *world) untilAlone(t *testing.T) {
	t.Helper()
	if !settle(30*time.Second, func() bool {
		for _, p := range lab.Descendants(os.Getpid()) {
			if p.State != 'Z' && p.PID != w.peer.PID() && !strings.Contains(p.Command, hostile.VictimWord) {
				return false
			}
			if p.State == 'Z' && p.Parent == os.Getpid() {
				unix.Wait4(p.PID, nil, unix.WNOHANG, nil)
			}
		}
		return true
	}) {
		t.Errorf("still there: %v", lab.Descendants(os.Getpid()))
	}
}

// What is open on purpose is open, or the documents lie.
func TestWhatIsOpenOnPurposeIsOpen(t *testing.T) {
	eachSurrounding(t, surroundings, func(t *testing.T, w *world, s surrounding) {
		list, names := pick(isOpen)
		h := w.hostileWatch(t, s, "namespace")
		argv := append([]string{w.adit, "run", "-c", conf{}.write(t, w), "--"}, insideArgs(t, w, h, names...)...)
		results := attemptBy(t, h, s.command(t, w, argv...))
		for _, r := range hostile.Judge("namespace", list, results, h.Close(), nil) {
			if r.Verdict != hostile.OpenDoor {
				t.Errorf("%s (%s): %s; it says %v", r.Attempt.Name, r.Attempt.Does, r.Verdict, r.Result)
			}
		}
		t.Logf("%d attempts are open on purpose", len(list))
	})
}

// TestWatchSeesTheHostileProgramWithoutAdit is the negative control: the same
// attempts without adit, and the same watch.
func TestWatchSeesTheHostileProgramWithoutAdit(t *testing.T) {
	eachSurrounding(t, surroundings, func(t *testing.T, w *world, s surrounding) {
		pingForAll(t)
		list, names := pick(func(a *hostile.Attempt) bool { return a.Control&s.who != 0 && !(a.C && w.cProgram(t) == "") })
		h := w.hostileWatch(t, s, "")
		o, err := oracle.Watch(endpoints)
		if err != nil {
			t.Fatal(err)
		}
		results := attemptBy(t, h, s.command(t, w, insideArgs(t, w, h, names...)...))
		rows := hostile.Judge("", list, results, h.Close(), nil)
		report, err := o.Stop()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, r := range rows {
			if r.Verdict == hostile.Leaked {
				seen++
				continue
			}
			t.Errorf("%s (%s): the watch does not see it without adit; it says %v %q", r.Attempt.Name, r.Attempt.Does, r.Result, r.Result.Text)
		}
		if len(report.Leaks) < 25 {
			t.Errorf("the oracle has seen %d packets, want at least 25", len(report.Leaks))
		}
		if seen < 25 {
			t.Errorf("the control sees %d attempts, want at least 25", seen)
		}
		t.Logf("the control sees %d of %d attempts", seen, len(rows))
		untilQuiet(t) // groups are left
	})
}
