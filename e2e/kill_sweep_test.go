package e2e

import (
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// TestNothingRemainsWheneverSomethingIsKilled kills one part, or several at
// once, at any time in the life of a run, two hundred times. The command does
// not want to end, and tries the network without a pause.
func TestNothingRemainsWheneverSomethingIsKilled(t *testing.T) {
	w := enter(t)
	for _, c := range []struct {
		name  string
		user  lab.User
		noTUN bool
		n     int
	}{
		{"of a user", w.User, false, 100},
		{"of a user, without TUN", w.User, true, 50},
		{"of root", w.Root(), false, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.user.UID == 0 && !lab.AsRoot() {
				suite.Skip(t, "the tests were not started by root")
			}
			if c.noTUN {
				closeTUN(t)
			}
			seed := uint64(time.Now().UnixNano())
			rng := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			file := conf{}.write(t, w)
			cmd := func(script string) *exec.Cmd {
				return c.user.Command(w.adit, "run", "--stop-timeout", "30ms", "-c", file, "--", "sh", "-c", script, "sh", w.probe)
			}
			wantOK(t, cmd("true")) // what stays is made now
			w.watch(t)
			before := w.Snapshot()
			for range c.n {
				killAtRandom(t, rng, cmd(stubborn))
			}
			w.wantNothingSince(t, before)
		})
	}
}

// killAtRandom runs cmd, which does not end by itself, and kills some of its
// parts after a while. The front is killed in the end, if it has not ended.
func killAtRandom(t *testing.T, rng *rand.Rand, cmd *exec.Cmd) {
	t.Helper()
	k := startKilling(t, cmd)
	after := time.Duration(rng.Int64N(int64(80 * time.Millisecond)))
	<-time.After(after)
	found := parts(k.pid())
	var victims []string
	for _, part := range []string{front, engine, stage, inner, keeper, command} {
		if found[part] != 0 && rng.IntN(3) == 0 {
			victims = append(victims, part)
		}
	}
	if watchers := []string{front, engine, keeper}; !slices.ContainsFunc(watchers, func(part string) bool { return !slices.Contains(victims, part) }) {
		// With all three nobody is left to end a command: it lives on, and has
		// no network.
		victims = slices.DeleteFunc(victims, func(part string) bool { return part == keeper })
	}
	for _, v := range victims {
		syscall.Kill(found[v], syscall.SIGKILL)
	}
	last := slices.Contains(victims, front)
	// Once there is an inner stage the outer one may have done its part, and there may
	// be one since we looked: who sees the command there has been too late.
	spent := slices.Equal(victims, []string{stage}) && k.commandRuns()
	unnoticed := spent || slices.Equal(victims, []string{keeper})
	if len(victims) == 0 || unnoticed {
		// Too early for anybody, or for anybody to notice.
		k.cmd.Process.Kill()
		last = true
	}
	if !k.within(deadline / 3) {
		t.Errorf("killed %v after %v: it does not end: %v\n%s", victims, after, k.left(), k.said())
		k.clear()
	}
	o := k.outcome()
	// Or somebody has noticed, and was quicker than we.
	noticed := unnoticed && regexp.MustCompile("^("+saysStage+"|"+saysKeeper+")$").MatchString(o)
	if last && o != "killed" && !strings.HasPrefix(o, "killed: adit: warning: adit's keeper") && !noticed || !last && o == "0" {
		t.Errorf("killed %v after %v: got %q", victims, after, o)
	}
}

// commandRuns waits for the command, and reports whether there is one before the run
// has ended.
func (k *killing) commandRuns() (runs bool) {
	settle(deadline/3, func() bool {
		select {
		case <-k.ended:
			return true
		default:
		}
		runs = parts(k.pid())[command] != 0
		return runs
	})
	return runs
}
