package hostile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// attemptName is argv[0] of the process of one attempt.
const attemptName = "adit-attempt"

// patience is how long one attempt may take; a patient one, six times as long.
const patience = 10 * time.Second

// atOnce is how many attempts run at the same time, as most of them wait, and
// racesAtOnce how many of those that do not.
const (
	atOnce      = 8
	racesAtOnce = 2
)

// The words by which the program starts itself: InsideWord WORLD [NAME]... for
// Inside, VictimWord PATH ABSTRACT for Victim.
const (
	InsideWord = "leaktest-inside"
	VictimWord = "leaktest-victim"
)

// Main runs this process as that of one attempt if it was started for that, and
// then does not return. The program's main calls it first.
func Main(args []string) {
	if len(args) == 3 && args[0] == attemptName {
		attemptMain(args[1], args[2])
	}
}

func attemptMain(name, world string) {
	runtime.LockOSThread() // namespaces are entered by threads
	var w World
	a := Find(name)
	if a == nil || json.Unmarshal([]byte(world), &w) != nil {
		os.Exit(2)
	}
	w.id = a.id
	r := a.try(&w)
	r.Name = a.Name
	json.NewEncoder(os.Stdout).Encode(r)
	os.Exit(0)
}

// Inside runs the named attempts and, if there are none, all but those that are
// alone. On the host itself, where nothing holds them, those alone are made that
// are of the control. It writes to out, in JSON, one a line: the mode that it is
// in, and a Result for each attempt. The rest of the run is what goes on in the
// caller's place: the caller's children are ours.
func Inside(world string, names []string, out io.Writer) error {
	var w World
	if err := json.Unmarshal([]byte(world), &w); err != nil {
		return fmt.Errorf("read the world: %w", err)
	}
	w.enter()
	list, err := choose(&w, names)
	if err != nil {
		return err
	}
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	var mu sync.Mutex // serialises out
	enc := json.NewEncoder(out)
	say := func(what any) {
		mu.Lock()
		defer mu.Unlock()
		enc.Encode(what)
	}
	say(line{Mode: w.Mode})
	try := func(a *Attempt) {
		if a.Alone {
			say(Result{Name: a.Name, State: StateBegun})
		}
		say(runOne(a, string(text)))
	}
	atATime(1, list, func(a *Attempt) bool { return a.First }, try).Wait()
	// Races beside all others, which have the time that those leave.
	races := atATime(racesAtOnce, list, func(a *Attempt) bool { return a.Patient }, try)
	atATime(atOnce, list, func(a *Attempt) bool { return !a.First && !a.Patient }, try).Wait()
	races.Wait()
	return nil
}

// atATime begins to make those of list that good says, n at the same time. Wait
// waits for all of them.
func atATime(n int, list []*Attempt, good func(*Attempt) bool, try func(*Attempt)) *sync.WaitGroup {
	queue := slices.DeleteFunc(slices.Clone(list), func(a *Attempt) bool { return !good(a) })
	var next atomic.Int64
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(queue) {
					return
				}
				try(queue[i])
			}
		})
	}
	return &wait
}

// A line is what the process inside writes one of.
type line struct {
	Mode string `json:"mode,omitempty"`
	Result
}

// Read reads what [Inside] has written: the mode, and what became of each attempt
// as far as it is known.
func Read(out []byte) (mode string, results []Result) {
	for text := range bytes.Lines(out) {
		var l line
		if json.Unmarshal(text, &l) != nil {
			continue // it was cut off
		}
		if l.Name == "" {
			mode = l.Mode
			continue
		}
		results = slices.DeleteFunc(results, func(r Result) bool { return r.Name == l.Name && r.State == StateBegun })
		results = append(results, l.Result)
	}
	return mode, results
}

// enter finds out where the process is. Mode is what was asked for, "" for the
// control; which mode there is the run itself says.
func (w *World) enter() {
	if w.Mode != "" {
		w.Mode = os.Getenv("ADIT_ACTIVE")
	}
	if w.Mode == Namespace && isHosts(w) {
		w.Mode = "" // there is no adit around us
	}
	if w.Mode != "" { // else they would be those who test
		w.Above, w.Own = ancestors(), os.Getenv("ADIT_ADDRESS")
	}
}

// choose returns the attempts of those names.
func choose(w *World, names []string) (list []*Attempt, err error) {
	for _, name := range names {
		a := Find(name)
		if a == nil {
			return nil, fmt.Errorf("there is no attempt %q", name)
		}
		list = append(list, a)
	}
	if len(names) > 0 {
		return list, nil
	}
	for _, a := range attempts {
		switch {
		case a.Alone, a.C && w.Helper == "":
		case !a.In(w.Mode): // without adit it might do harm
		default:
			list = append(list, a)
		}
	}
	return list, nil
}

// runOne runs one attempt in a process of its own, which may come to any harm.
func runOne(a *Attempt, world string) Result {
	var out, stderr bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{attemptName, a.Name, world}
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.WaitDelay = time.Second // descendants may hold the pipes
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.nested != 0 {
		cmd.SysProcAttr.Cloneflags = a.nested
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		r := no("clone", err)
		r.Name = a.Name
		return r
	}
	wait := patience
	if a.Patient {
		wait *= 6
	}
	timer := time.AfterFunc(wait, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	late := !timer.Stop()
	var r Result
	if e := json.Unmarshal(out.Bytes(), &r); e != nil {
		if late {
			err = errors.New("it took too long")
		}
		r = Result{State: StateBroken, Text: strings.TrimSpace(fmt.Sprint(err, " ", stderr.String()))}
	}
	r.Name = a.Name
	return r
}

// again runs this attempt in one more process, with another count of canaries.
func again(w *World) Result {
	text, err := json.Marshal(w)
	if err != nil {
		return broken(err)
	}
	return runOne(attempts[w.id-1], string(text))
}

// startAgain is again without waiting.
func startAgain(w *World) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{attemptName, attempts[w.id-1].Name, string(text)}
	return cmd.Start()
}

// ancestors returns the processes above this one, the nearest first.
func ancestors() (list []int) {
	for pid := os.Getppid(); pid > 0 && len(list) < 64; {
		list = append(list, pid)
		next := parentOf(pid)
		if next == pid {
			break
		}
		pid = next
	}
	return list
}

// parentOf returns the parent of a process, 0 if it has none.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(s))
			return n
		}
	}
	return 0
}
