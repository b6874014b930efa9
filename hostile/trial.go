package hostile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Trial is the whole list on this machine: the watch outside, and inside what
// Run leads to.
type Trial struct {
	// Mode is what is expected where no run says which mode it is in.
	Mode string
	Exe  string // this program; "" is /proc/self/exe
	// Run are the words by which this program runs a command in the tunnel, its
	// options last. Without any the attempts are made here, without adit, those of
	// the control alone: only to see them leak.
	Run []string
	// Config, if there is one, is given to Run by a descriptor (--config-fd).
	Config  []byte
	HostDNS bool         // the user wants the host's resolver to be asked
	Started func(string) // is told what goes on
}

// A Report is what came of a trial.
type Report struct {
	Rows   []Row
	World  World
	NoEyes error // why no packets were captured; nil: they were
	Lost   int   // packets that the capture had no room for
	// Twice is how many packets went into the tunnel and were seen outside, too: a
	// gateway on this machine sends them on. That they had left twice would look
	// the same.
	Twice int
	// Failed are the words of a run that made no attempt at all.
	Failed string
}

// Do runs the list. An error is of the watch outside, or of ctx when that has
// ended; a run that failed is in the report.
func (t *Trial) Do(ctx context.Context) (*Report, error) {
	dir, err := os.MkdirTemp("", "adit-leaktest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := World{Mode: t.Mode}
	if len(t.Run) == 0 {
		w.Mode = "" // the control
	}
	t.look(&w)
	h, err := Watch(w, dir, t.self)
	if err != nil {
		return nil, err
	}
	r := &Report{World: h.World}
	results := t.all(ctx, h, dir, r)
	seen := h.Close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// Only now: what a run has left may send a little longer than it lasts.
	through, err := allThrough(h, dir)
	if err != nil {
		return nil, err
	}
	_, r.NoEyes = h.Captures()
	r.Lost = h.Lost()
	if r.Failed != "" {
		return r, nil
	}
	mode := r.World.Mode
	var list []*Attempt
	for _, a := range attempts {
		if !a.C && a.In(mode) {
			list = append(list, a)
		}
	}
	r.World.Mode = cmp.Or(mode, t.Mode)
	r.Rows = Judge(r.World.Mode, list, results, seen, through)
	if os.Geteuid() == 0 && mode != Namespace {
		excuseRoot(r.Rows)
	}
	if t.HostDNS {
		excuseNames(r.Rows)
	}
	seen = slices.DeleteFunc(seen, func(s Sighting) bool { return !s.Counts(mode) })
	if r.Twice = twice(seen, through); r.Twice > 0 {
		excuseStub(r.Rows)
	}
	return r, nil
}

// twice returns how many marks were seen in the tunnel and outside.
func twice(seen []Sighting, through map[Mark]bool) int {
	both := make(map[Mark]bool)
	for _, s := range seen {
		if through[s.Mark] {
			both[s.Mark] = true
		}
	}
	return len(both)
}

// allThrough returns what has gone into the tunnel in all runs.
func allThrough(h *Host, dir string) (map[Mark]bool, error) {
	all := make(map[Mark]bool)
	files, _ := filepath.Glob(filepath.Join(dir, "inner*.pcap"))
	for _, file := range files {
		some, err := h.World.Through(file)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, some)
	}
	return all, nil
}

// excuseStub is for a gateway on this machine, which asks the host's nameserver
// what it was asked through the tunnel. A question to adit's own stub is not in
// the capture of the tunnel's inside, so a leak of it would look the same: it is
// not called one, and not held either.
func excuseStub(rows []Row) {
	for i, r := range rows {
		if r.Attempt.Name == "dns-stub" && r.Verdict == Leaked {
			rows[i].Verdict = Otherwise
		}
	}
}

// excuseRoot takes for open what root may do to files, in modes that leave it that
// power. In a container most of them are read-only.
func excuseRoot(rows []Row) {
	for i, r := range rows {
		if r.Attempt.ByRoot && r.Verdict == Leaked {
			rows[i].Expected, rows[i].Verdict = open(), OpenDoor
		}
	}
}

// look finds the host's nameserver, and its file.
func (t *Trial) look(w *World) {
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return
	}
	if !t.HostDNS {
		w.ResolvConf = string(b)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !a.IsLoopback() && a.Zone() == "" {
			w.Nameserver = a
			return
		}
	}
}

// excuseNames takes what asks the host's resolver for open, as the user wants it.
func excuseNames(rows []Row) {
	for i, r := range rows {
		if strings.HasPrefix(r.Attempt.Name, "dns-") && r.Verdict == Leaked && r.Result.State != StateGot {
			rows[i].Expected, rows[i].Verdict = open(), OpenDoor
		}
	}
}

// self returns this program with arguments, outside of any tunnel of ours. Secrets
// of the environment are not for everybody.
func (t *Trial) self(args ...string) *exec.Cmd {
	cmd := exec.Command(cmp.Or(t.Exe, "/proc/self/exe"), args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "ADIT_") })
	return cmd
}

// all runs the list: most of it at once, and each of those that end adit by
// itself.
func (t *Trial) all(ctx context.Context, h *Host, dir string, r *Report) []Result {
	t.tell("the attempts")
	first := t.run(ctx, h, filepath.Join(dir, "inner.pcap"), nil)
	results := first.results
	r.World.Mode = first.mode
	if len(results) == 0 {
		r.Failed = first.said
		return nil
	}
	if len(t.Run) == 0 {
		return results
	}
	for _, a := range attempts {
		if !a.Alone || !a.In(first.mode) || ctx.Err() != nil {
			continue
		}
		t.tell("the attempt " + a.Name)
		capture := filepath.Join(dir, "inner-"+a.Name+".pcap")
		one := t.run(ctx, h, capture, []string{a.Name})
		// After the end of adit its key is in use for a moment.
		for end := time.Now().Add(30 * time.Second); !one.began() && ctx.Err() == nil && time.Now().Before(end); {
			unix.Poll(nil, 250)
			one = t.run(ctx, h, capture, []string{a.Name})
		}
		results = append(results, one.results...)
	}
	return results
}

func (t *Trial) tell(what string) {
	if t.Started != nil {
		t.Started(what)
	}
}

// A run is what came of one.
type run struct {
	mode    string // that it was in
	results []Result
	through map[Mark]bool // what has gone into the tunnel so far
	said    string        // the words of one that failed
	code    int           // its exit status
}

// began reports whether the attempts were begun at all.
func (r *run) began() bool { return len(r.results) > 0 || len(r.through) > 0 }

// run runs the named attempts, or all. The run is told to end when ctx does.
//
// Preload mode takes no static program, which this one is: it refuses it, with
// status 126. What a user would do, too, is to start it by a shell.
func (t *Trial) run(ctx context.Context, h *Host, capture string, names []string) *run {
	r := t.runBy(ctx, h, capture, names, "/proc/self/exe")
	const notThat = 126
	if len(t.Run) > 0 && r.code == notThat && !r.began() && ctx.Err() == nil {
		if exe, err := os.Executable(); err == nil {
			return t.runBy(ctx, h, capture, names, ByShell(cmp.Or(t.Exe, exe))...)
		}
	}
	return r
}

// ByShell returns the beginning of a command that is a dynamically linked program,
// the system's shell, until it becomes exe.
func ByShell(exe string) []string { return []string{"/bin/sh", "-c", `exec "$0" "$@"`, exe} }

// runBy is run with the words by which the process inside is started.
func (t *Trial) runBy(ctx context.Context, h *Host, capture string, names []string, exe ...string) *run {
	world, err := json.Marshal(h.World)
	if err != nil {
		return &run{said: err.Error()}
	}
	inside := append([]string{InsideWord, string(world)}, names...)
	cmd := t.self(inside...)
	cmd.ExtraFiles = h.Inherit()
	if len(t.Run) > 0 {
		args := append(slices.Clone(t.Run), "--stop-timeout", "2s", "--pcap", "inner="+capture)
		if t.Config != nil {
			f, err := inMemory(t.Config)
			if err != nil {
				return &run{said: err.Error()}
			}
			defer f.Close()
			args = append(args, "--config-fd", fmt.Sprint(3+len(cmd.ExtraFiles)))
			cmd.ExtraFiles = append(slices.Clone(cmd.ExtraFiles), f)
		}
		args = append(append(append(args, "--"), exe...), inside...)
		cmd.Args = append(cmd.Args[:1], args...)
		cmd.Env = os.Environ() // adit run takes the secrets out
	}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := runUntil(ctx, cmd); err != nil && stderr.Len() == 0 && !errors.Is(err, exec.ErrWaitDelay) {
		fmt.Fprintln(&stderr, err)
	}
	r := &run{said: stderr.String()}
	if cmd.ProcessState != nil {
		r.code = cmd.ProcessState.ExitCode()
	}
	r.mode, r.results = Read(out.Bytes())
	if r.through, err = h.World.Through(capture); err != nil {
		r.through = make(map[Mark]bool)
	}
	return r
}

// runUntil is cmd.Run, with a TERM when ctx ends.
func runUntil(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(unix.SIGTERM) })()
	return cmd.Wait()
}

// inMemory returns a file that holds b and has no name.
func inMemory(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("adit", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "configuration")
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
