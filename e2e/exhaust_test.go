package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"

	"golang.org/x/sys/unix"
)

// What is said when something is used up: one error, hints, and nothing else.
const oneError = `adit: error: .+\n(adit: hint: .+\n)+`

// A scarcity is a run in which something is missing.
type scarcity struct {
	name    string
	prepare func(t *testing.T, w *world) // may be nil
	// shell is run by sh before "$@", the run itself, takes its place.
	shell   string
	options []string
	argv    []string // nil is one that fetches a page
	code    int
	stdout  string // of success; "" is the page, "-" nothing, "*" anything
	says    string // regular expression of all of standard error
}

// run returns the command.
func (s scarcity) run(t *testing.T, w *world) *exec.Cmd {
	t.Helper()
	argv := s.argv
	if argv == nil {
		argv = []string{w.probe, "get", pages[0]}
	}
	script := s.shell
	if script == "" {
		script = ":"
	}
	args := append([]string{"sh", "-c", script + "\nexec \"$@\"", "sh", w.adit, "run", "-c", conf{}.write(t, w)}, s.options...)
	return w.plain(append(append(args, "--"), argv...)...)
}

// TestWantOfAnythingIsSaidOrShruggedOff: a run either works or says in one line
// what it lacks. It leaves nothing behind either way, and nothing leaks.
func TestWantOfAnythingIsSaidOrShruggedOff(t *testing.T) {
	w := enter(t)
	wantOK(t, w.in(t, conf{}, "true")) // what stays is made now
	for _, s := range scarcities(w) {
		t.Run(s.name, func(t *testing.T) {
			cmd := s.run(t, w)
			if s.prepare != nil {
				s.prepare(t, w)
			}
			before := w.Snapshot()
			if s.code == 0 {
				w.watch(t)
			}
			r := do(t, cmd)
			want := s.stdout
			switch {
			case want == "*":
				r.stdout = want
			case want == "-":
				want = ""
			case want == "" && s.code == 0:
				want = "10.9.0.2\n"
			}
			if r.code != s.code || r.stdout != want || !regexp.MustCompile("^("+s.says+")$").MatchString(r.stderr) {
				t.Errorf("got status %d (signal %v), stdout %q, stderr %q; want %d, %q, %q", r.code, r.signal, r.stdout, r.stderr, s.code, want, s.says)
			}
			w.wantNothingSince(t, before)
		})
	}
}

func scarcities(w *world) []scarcity {
	const failed = 125
	limits := []scarcity{
		{name: "64 descriptors", shell: "ulimit -n 64"},
		{name: "64 descriptors, 7 of them taken", shell: "ulimit -n 64; exec 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3"},
		{name: "20 descriptors", shell: "ulimit -n 20", code: failed, says: `adit: error: \d+ more open files are allowed here, and a run needs \d+\nadit: hint: ulimit -n 1024\n`},
		{name: "10 descriptors", shell: "ulimit -n 10", code: failed, says: `adit: error: fewer than 16 open files are allowed here\nadit: hint: ulimit -n 1024\n`},
		{name: "2 GB of addresses", shell: "ulimit -v 2000000"},
		{name: "700 MB of addresses", shell: "ulimit -v 700000", code: failed, says: `adit: error: the address space is limited .*\nadit: hint: ulimit -v unlimited\n`},
		{name: "300 MB of data", shell: "ulimit -d 300000"},
		{name: "64 MB of data", shell: "ulimit -d 64000", code: failed, says: `adit: error: memory is limited .*\nadit: hint: ulimit -d unlimited\n`},
		{name: "no locked memory", shell: "ulimit -l 0"},
		{name: "no locked memory, without TUN", shell: "ulimit -l 0", prepare: func(t *testing.T, _ *world) { closeTUN(t) }},
		{name: "64 descriptors, without TUN", shell: "ulimit -n 64", prepare: func(t *testing.T, _ *world) { closeTUN(t) }},
		{name: "a small stack", shell: "ulimit -s 64"},
		{name: "files of no size", shell: "ulimit -f 0", code: failed, says: `adit: error: .*file too large\nadit: hint: ulimit -f unlimited\n`},
		{name: "no queue for signals", shell: "ulimit -i 0 2>/dev/null"},
	}
	surroundings := []scarcity{
		{name: "no standard input", shell: "exec <&-"},
		{name: "no standard error", shell: "exec 2>&-"},
		{name: "no standard descriptor at all", shell: "exec <&- 2>&- >&-", argv: []string{"true"}, stdout: "-"},
		{name: "no standard error to say an error on", shell: "exec 2>&-", options: []string{"--mtu", "1"}, code: failed},
		{name: "a standard error that nobody reads", shell: `exec 2>"$HOME/closed"`, prepare: closedPipe, options: []string{"-vv"}},
		{name: "a umask of 0777", shell: "umask 0777", prepare: func(t *testing.T, w *world) { mount(t, w, w.User.Runtime, "size=64k") }},
		{name: "a working directory that is gone", shell: `mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone"`},
		{name: "no environment", shell: `exec env -i "XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR" "$@"`},
		{name: "no HOME", shell: "unset HOME"},
		{name: "no TMPDIR", shell: "export TMPDIR=/nowhere"},
		{name: "a large environment", shell: `x=$(head -c 120000 /dev/zero | tr '\0' x); for i in 1 2 3 4 5 6 7 8 9; do export V$i=$x; done`},
		{name: "many arguments", shell: `set -- "$@" $(seq 100000)`, argv: []string{"sh", "-c", "echo $#", "sh"}, stdout: "100000\n"},
		{name: "a command that closes every descriptor", argv: []string{"bash", "-c", `for i in $(seq 0 99); do eval "exec $i>&-"; done; exit 0`}, stdout: "-"},
		{name: "a command that writes to a closed pipe", argv: []string{"sh", "-c", "yes | head -n 1"}, stdout: "y\n"},
		{name: "--status-fd that nobody reads any more", shell: `exec 7>"$HOME/closed"`, prepare: closedPipe, options: []string{"--status-fd", "7"}},
	}
	files := []scarcity{
		{name: "a full disk for runtime files", prepare: runtimeFull},
		{name: "no inode for runtime files", prepare: runtimeWithoutInodes, code: failed, says: `adit: error: .*no space left on device\n(adit: hint: .+\n)+`},
		{name: "only folders that cannot be written", prepare: nothingWritable, shell: "unset XDG_RUNTIME_DIR", code: failed, says: `adit: error: .*: read-only file system\nadit: hint: .*XDG_RUNTIME_DIR=.*\n`},
		{name: "a full disk for --log-file", options: []string{"-vv", "--log-file", "/dev/full"}},
		{name: "no disk for --pcap", options: []string{"--pcap", "inner=/dev/full"}, code: failed, says: `adit: error: --pcap .*no space left on device\nadit: hint: df -h\n`},
		{name: "a full disk during --pcap", prepare: smallDisk, options: []string{"--pcap", "inner=" + w.User.Home + "/small/x.pcap"},
			argv: []string{w.probe, "get", "http://10.9.0.1/bytes?size=300000&seed=3"}, stdout: "*", says: `adit: warning: --pcap: the capture is not complete: write \S+x.pcap: no space left on device\n`},
		{name: "a /proc without other people's processes", prepare: hiddenProc},
		{name: "a read-only /proc/sys", prepare: readOnlySys},
	}
	return append(append(limits, surroundings...), files...)
}

// closedPipe makes ~/closed a pipe whose only reader goes away at once.
func closedPipe(t *testing.T, w *world) {
	t.Helper()
	path := filepath.Join(w.User.Home, "closed")
	if err := unix.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o666)
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The writer can be opened while there is a reader; it has gone when the
	// page comes.
	go func() {
		defer reader.Close()
		settle(deadline/9, func() bool { return opened(path) })
	}()
	t.Cleanup(func() { os.Remove(path) })
}

// opened reports whether somebody has path open for writing: proc_pid_fd(5). Whoever
// has just been forked has what is open here, for reading.
func opened(path string) bool {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	return slices.ContainsFunc(fds, func(fd string) bool {
		at, _ := os.Readlink(fd)
		link, err := os.Lstat(fd)
		return at == path && err == nil && link.Mode()&0o200 != 0
	})
}

// mount mounts a tmpfs of the user's for the time of the test.
func mount(t *testing.T, w *world, dir, options string) {
	t.Helper()
	options += fmt.Sprintf(",uid=%d,gid=%d,mode=700", w.User.UID, w.User.GID)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(os.NewSyscallError("mount", err))
	}
	unmountLater(t, dir)
}

func unmountLater(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

func runtimeFull(t *testing.T, w *world) {
	mount(t, w, w.User.Runtime, "size=4k")
	f, err := os.Create(w.User.Runtime + "/full")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 8192)); err == nil {
		t.Fatal("the disk is not full")
	}
	if err := os.Mkdir(w.User.Runtime+"/adit", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(w.User.Runtime+"/adit", w.User.UID, w.User.GID); err != nil {
		t.Fatal(err)
	}
}

func runtimeWithoutInodes(t *testing.T, w *world) {
	mount(t, w, w.User.Runtime, "nr_inodes=2")
	if err := os.Mkdir(w.User.Runtime+"/adit", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(w.User.Runtime+"/adit", w.User.UID, w.User.GID); err != nil {
		t.Fatal(err)
	}
}

func nothingWritable(t *testing.T, w *world) {
	readOnlyBind(t, "/tmp")
}

// readOnlyBind makes a directory and what is mounted below it read-only.
func readOnlyBind(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	unmountLater(t, dir)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, dir, 0, &attr); err != nil {
		t.Fatal(os.NewSyscallError("mount_setattr", err))
	}
}

func smallDisk(t *testing.T, w *world) {
	dir := filepath.Join(w.User.Home, "small")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	mount(t, w, dir, "size=16k")
	w.file(t, "small/x.pcap", "", 0o600)
}

func hiddenProc(t *testing.T, w *world) {
	if err := unix.Mount("proc", "/proc", "proc", 0, "hidepid=invisible"); err != nil {
		suite.Skip(t, "no /proc of its own: %v", err)
	}
	unmountLater(t, "/proc")
}

func readOnlySys(t *testing.T, w *world) {
	if !lab.AsRoot() {
		suite.Skip(t, "in this lab nobody may write to /proc/sys")
	}
	readOnlyBind(t, "/proc/sys")
}

// Whatever the limit on descriptors: it works, or the error is one.
func TestEveryLimitOfDescriptorsIsSurvived(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	worked := 0
	for n := 40; n >= 3; n-- {
		r := do(t, w.plain("sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, n), "sh", w.adit, "run", "-c", file, "--", "true"))
		switch {
		case r.code == 0 && r.stderr == "" && worked == 40-n: // all above worked as well
			worked++
		case r.code == 125 && regexp.MustCompile("^"+oneError+"$").MatchString(r.stderr):
		default:
			t.Errorf("%d descriptors: got status %d, stderr %q", n, r.code, r.stderr)
		}
	}
	if worked == 0 {
		t.Error("40 descriptors are not enough")
	}
	w.wantNothingSince(t, before)
}

// threads returns how many threads the user has.
func (w *world) threads(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("ps", "-L", "-o", "tid=", "-U", fmt.Sprint(w.User.UID)).Output()
	if _, none := err.(*exec.ExitError); err != nil && !none {
		suite.Skip(t, "ps: %v", err)
	}
	return len(strings.Fields(string(out)))
}

func TestLimitOfProcessesIsSaidOrShruggedOff(t *testing.T) {
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the user of this lab has other processes that come and go")
	}
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	for _, c := range []struct {
		free int
		code int
		says string
	}{
		{200, 0, ""}, {60, 0, ""},
		{30, 125, `adit: error: \d+ more processes and threads are allowed here, and a run needs \d+\nadit: hint: ulimit -u 4096\n`},
		{15, 125, `adit: error: \d+ more processes and threads are allowed here, and a run needs \d+\nadit: hint: ulimit -u 4096\n`},
		{8, 125, oneError},
	} {
		limit := fmt.Sprintf(`ulimit -u %d; exec "$@"`, w.threads(t)+c.free)
		r := do(t, w.plain("bash", "-c", limit, "bash", w.adit, "run", "-c", file, "--", "true"))
		if r.code != c.code || !regexp.MustCompile("^("+c.says+")$").MatchString(r.stderr) {
			t.Errorf("%d more processes: got status %d, stderr %q; want %d, %q", c.free, r.code, r.stderr, c.code, c.says)
		}
	}
	w.wantNothingSince(t, before)
}

// A command that takes all processes there are ends by its own fault, and adit
// sees it to its end.
func TestForkBombWithinItsLimitHarmsNobody(t *testing.T) {
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the user of this lab has other processes that come and go")
	}
	file := conf{}.write(t, w)
	wantOK(t, w.run("-c", file, "--", "true"))
	before := w.Snapshot()
	w.watch(t)
	const bomb = `i=0; while [ $i -lt 300 ]; do "$1" dial tcp 198.51.100.1:80 1 & i=$((i+1)); done; wait`
	limit := fmt.Sprintf(`ulimit -u %d; exec "$@"`, w.threads(t)+120)
	r := do(t, w.plain("bash", "-c", limit, "bash", w.adit, "run", "-c", file, "--", "sh", "-c", bomb, "sh", w.probe))
	// dash ends with 2, adit says nothing of its own but may name who is left.
	if said := regexp.MustCompile(`(?m)^adit: .*$`).FindAllString(r.stderr, -1); r.code != 0 && r.code != 2 || len(said) > 1 ||
		len(said) == 1 && !strings.Contains(said[0], "still run") {
		t.Errorf("got status %d (signal %v), adit said %q of\n%.8000s", r.code, r.signal, said, r.stderr)
	}
	w.wantNothingSince(t, before)
}
