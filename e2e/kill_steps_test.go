package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// A blow is what is done to one part at a step.
type blow struct {
	sig  syscall.Signal
	part string
}

// Blows with the names that the tests are read by.
func kills(part string) blow     { return blow{syscall.SIGKILL, part} }
func stops(part string) blow     { return blow{syscall.SIGSTOP, part} }
func continues(part string) blow { return blow{syscall.SIGCONT, part} }

// Words that adit says of blows, and how it then ends: regular expressions of
// killing.outcome.
const (
	saysEngine = `125: adit: error: the engine was ended by signal \d+ \(\w+\): (before the command had started|the command has lost its network and was ended)\n(adit: hint: was it the kernel.*\n)?`
	saysStage  = `125: adit: error: start the command: the process that was to become it has ended\nadit: hint: was it the kernel.*\n`
	saysKeeper = `(0|terminated|killed): adit: warning: adit's keeper, which keeps .* was killed and the command is ended\n`
)

// mayEnd returns how a run may end that is dealt the blow. All is well when the
// blow comes too late to matter.
func (b blow) mayEnd() string {
	died := b.sig.String()
	switch {
	case b.sig == syscall.SIGSTOP || b.sig == syscall.SIGCONT:
		return "0" // and in silence
	case b.part == front && b.sig == syscall.SIGKILL:
		return died
	case b.part == front:
		return died + "|0"
	case b.part == engine:
		return "0|" + saysEngine
	case b.part == keeper:
		return "0|" + saysKeeper
	case b.sig == syscall.SIGKILL:
		return died + "|0|" + saysStage
	}
	return died + "|0"
}

// A plight is what is done to a run at one step.
type plight []blow

func (p plight) String() string {
	var words []string
	for _, b := range p {
		words = append(words, b.sig.String()+" "+b.part)
	}
	return strings.Join(words, ", ")
}

// mayEnd returns how the run may end. Who kills the front leaves nobody to speak.
func (p plight) mayEnd() *regexp.Regexp {
	var ends []string
	for _, b := range p {
		if b == kills(front) {
			return regexp.MustCompile(`^killed$`)
		}
		ends = append(ends, b.mayEnd())
	}
	return regexp.MustCompile("^(" + strings.Join(ends, "|") + ")$")
}

// has reports whether b is one of the blows.
func (p plight) has(b blow) bool {
	for _, x := range p {
		if x == b {
			return true
		}
	}
	return false
}

// deal deals the blows. SIGCONT comes when the part has stopped, or cannot.
func (p plight) deal(found map[string]int) {
	for _, b := range p {
		pid := found[b.part]
		if b.sig != syscall.SIGCONT {
			syscall.Kill(pid, b.sig)
			continue
		}
		go func() {
			settle(50*time.Millisecond, func() bool {
				q, ok := lab.ReadProcess(pid)
				return !ok || q.State == 'T'
			})
			syscall.Kill(pid, b.sig)
		}()
	}
}

// free continues, a little later, who only a test has stopped: the front, which
// stops as the command does, and the engine while somebody is left to wait for it.
// All others have to end as they are.
func (p plight) free(k *killing) {
	if len(p) < 2 || p[0].sig != syscall.SIGSTOP || p[1].sig == syscall.SIGCONT {
		return
	}
	go func() {
		select {
		case <-k.ended: // and the next trial may have begun
			return
		case <-time.After(300 * time.Millisecond):
		}
		if p[0].part == engine && !p.has(kills(front)) {
			if pid := parts(k.pid())[engine]; pid != 0 {
				syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		k.cmd.Process.Signal(syscall.SIGCONT)
	}()
}

// A place is a step and the parts that are there when it is taken.
type place struct {
	step
	there map[string]bool
}

// placesOf runs cmd and returns its steps.
func placesOf(t *testing.T, cmd *exec.Cmd) (places []place) {
	t.Helper()
	k, over := held(t, cmd, func(k *killing, s step) {
		p := place{s, map[string]bool{}}
		for part := range parts(k.pid()) {
			p.there[part] = true
		}
		places = append(places, p)
	})
	<-k.ended
	<-over
	if o := k.outcome(); o != "0" {
		t.Fatalf("a run that is only held: %s", o)
	}
	return places
}

// A trial is a plight at a place.
type trial struct {
	place
	plight
}

func (x trial) String() string { return fmt.Sprintf("at %v: %v", x.step, x.plight) }

// trials returns about n of all trials that can be, evenly spread; all of them
// if ADIT_KILL_ALL is set.
func trials(places []place, plights []plight, n int) []trial {
	var all, some []trial
	for _, at := range places {
		for _, p := range plights {
			// What is stopped in the first moment of its life, before it has
			// asked to hear of the front's death, cannot be helped.
			there := at.part != front || !p.has(stops(engine)) || !p.has(kills(front))
			for _, b := range p {
				there = there && at.there[b.part]
			}
			if there {
				all = append(all, trial{at, p})
			}
		}
	}
	if os.Getenv("ADIT_KILL_ALL") != "" {
		return all
	}
	for i := range n {
		some = append(some, all[i*len(all)/n])
	}
	return some
}

// happens runs cmd with the blows, and reports whether it came to the place.
func (x trial) happens(t *testing.T, cmd *exec.Cmd) (reached bool) {
	t.Helper()
	k, over := held(t, cmd, func(k *killing, s step) {
		if s != x.step || reached {
			return
		}
		found := parts(k.pid())
		for _, b := range x.plight {
			if found[b.part] == 0 {
				return
			}
		}
		reached = true
		x.deal(found)
		x.free(k)
	})
	if !k.within(deadline / 3) {
		t.Errorf("%v: it does not end: %v\n%s", x, k.left(), k.said())
		k.clear()
	}
	<-over
	if reached && !x.mayEnd().MatchString(k.outcome()) {
		t.Errorf("%v: got %q, want %v", x, k.outcome(), x.mayEnd())
	}
	if !reached && k.outcome() != "0" {
		t.Errorf("%v: nothing was done, and got %q", x, k.outcome())
	}
	return reached
}

// Families of plights.
func eachKilled(parts []string) (list []plight) {
	for _, a := range parts {
		list = append(list, plight{kills(a)})
	}
	return list
}

func eachPaused(parts []string) (list []plight) {
	for _, a := range parts {
		list = append(list, plight{stops(a), continues(a)})
	}
	return list
}

func eachSignalled(parts []string) (list []plight) {
	for _, a := range parts {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
			list = append(list, plight{{sig, a}})
		}
	}
	return list
}

func twoKilled(parts []string) (list []plight) {
	for i, a := range parts {
		for _, b := range parts[:i] {
			list = append(list, plight{kills(a), kills(b)})
		}
	}
	return list
}

func oneStoppedOneKilled(parts []string) (list []plight) {
	for _, a := range parts {
		for _, b := range parts {
			if a != b {
				list = append(list, plight{stops(a), kills(b)})
			}
		}
	}
	return list
}

// TestNothingRemainsWhateverIsKilledAtEachStep holds a run at each of its system
// calls that matter, kills, stops or signals parts of it there, and wants: the
// exit status and the words that belong to it, an end in time, nothing left, and
// no packet outside of the tunnel.
func TestNothingRemainsWhateverIsKilledAtEachStep(t *testing.T) {
	w := enter(t)
	ofUser := []string{front, engine, stage, keeper, command}
	ofRoot := []string{front, engine, stage, inner, keeper, command}
	for _, c := range []struct {
		name   string
		user   lab.User
		noTUN  bool
		family func([]string) []plight
		parts  []string
		n      int // trials
	}{
		{"one is killed", w.User, false, eachKilled, ofUser, 150},
		{"one is killed, without TUN", w.User, true, eachKilled, ofUser, 60},
		{"one is killed, for root", w.Root(), false, eachKilled, ofRoot, 80},
		{"one is stopped and continued", w.User, false, eachPaused, ofUser, 50},
		{"one gets a signal", w.User, false, eachSignalled, ofUser, 90},
		{"one gets a signal, for root", w.Root(), false, eachSignalled, ofRoot, 30},
		{"two are killed", w.User, false, twoKilled, ofUser, 60},
		{"two are killed, for root", w.Root(), false, twoKilled, ofRoot, 30},
		{"one is stopped and one killed", w.User, false, oneStoppedOneKilled, ofUser, 40},
		{"one is stopped and one killed, without TUN", w.User, true, oneStoppedOneKilled, ofUser, 20},
		{"one is stopped and one killed, for root", w.Root(), false, oneStoppedOneKilled, ofRoot, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.user.UID == 0 && !lab.AsRoot() {
				suite.Skip(t, "the tests were not started by root")
			}
			if c.noTUN {
				closeTUN(t)
			}
			file := conf{}.write(t, w)
			cmd := func() *exec.Cmd {
				return c.user.Command(w.probe, "hold", w.adit, "run", "--stop-timeout", "200ms", "-c", file, "--",
					w.probe, "dial", "tcp", "198.51.100.1:80", "1")
			}
			places := placesOf(t, cmd()) // and makes what stays
			w.watch(t)
			before := w.Snapshot()
			begin, list, reached := time.Now(), trials(places, c.family(c.parts), c.n), 0
			for _, x := range list {
				if x.happens(t, cmd()) {
					reached++
				}
			}
			w.wantNothingSince(t, before)
			t.Logf("%d steps; %d of %d trials came to their step; %v", len(places), reached, len(list), time.Since(begin).Round(time.Millisecond))
			if reached < len(list)/2 { // the number of a step varies a little, more on a busy machine
				t.Errorf("only %d of %d trials came to their step", reached, len(list))
			}
		})
	}
}

// closeTUN takes /dev/net/tun away for the time of the test.
func closeTUN(t *testing.T) {
	t.Helper()
	if err := lab.MountTUN(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.UnmountTUN(); err != nil {
			t.Error(err)
		}
	})
}
