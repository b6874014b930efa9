package sockets

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A transcript is what testdata/transcript printed: the calls of each scenario,
// in order.
type transcript struct {
	scenarios []string // "group/name net", in order
	calls     map[string][]call
}

// A call is one line: what was called, and what came of it.
type call struct{ what, result string }

func (c call) String() string {
	if c.result == "" {
		return c.what
	}
	return c.what + " = " + c.result
}

func parseTranscript(text string) transcript {
	tr := transcript{calls: map[string][]call{}}
	var scenario string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			scenario = name
			tr.scenarios = append(tr.scenarios, name)
			tr.calls[name] = nil
			continue
		}
		what, result, _ := strings.Cut(line, " = ")
		tr.calls[scenario] = append(tr.calls[scenario], call{what, result})
	}
	return tr
}

// groups are all that there are, with those that preload mode has as well: the
// others are about sockets that it does not hand out.
var (
	streamGroups = []string{"connect", "events", "stream", "moves", "names", "loopback", "options/tcp", "options/of-a-connection",
		"options/to-a-device", "options/malformed", "descriptors", "unixes", "signals/interrupted", "signals/restarted",
		"signals/connect-restarted", "signals/connect-interrupted", "signals/with-timeout", "signals/broken-pipe", "signals/announced-by-signal"}
	allGroups = []string{"connect", "events", "stream", "moves", "names", "loopback", "udp", "udpmsg", "udploop", "options", "descriptors",
		"signals", "unixes", "families"}
)

// transcriptTime is more than all of it takes.
const transcriptTime = 5 * time.Minute

// program returns the path of the compiled transcript.
func (w *world) program(t testing.TB, static bool) string {
	t.Helper()
	sources, err := filepath.Glob("testdata/transcript/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	name := "transcript"
	if static {
		name += "-static"
	}
	return w.compile(t, name, static, sources...)
}

// transcribe runs the program in a surrounding. ADIT_SCENARIOS narrows it down
// to some, separated by spaces.
func (w *world) transcribe(t testing.TB, s surrounding, static bool, groups []string) transcript {
	t.Helper()
	c := w.client(t, s)
	if only := os.Getenv("ADIT_SCENARIOS"); only != "" {
		groups = strings.Fields(only)
	}
	a := c.addresses()
	argv := append([]string{w.program(t, static), a[0].Addr().String(), a[1].Addr().String()}, groups...)
	text := c.run(t, transcriptTime, argv...)
	if dir := os.Getenv("ADIT_TRANSCRIPTS"); dir != "" {
		os.WriteFile(filepath.Join(dir, strings.ReplaceAll(s.String(), " ", "-")), []byte(text), 0o644)
	}
	return parseTranscript(text)
}

// truth is the plain transcript, made once: that of the static program, which is
// the dynamic one's as well.
var truth struct {
	mu sync.Mutex // guards what is below
	transcript
}

func (w *world) truth(t testing.TB) transcript {
	t.Helper()
	truth.mu.Lock()
	defer truth.mu.Unlock()
	if truth.calls == nil {
		truth.transcript = w.transcribe(t, plainly, true, allGroups)
	}
	return truth.transcript
}

// A difference is one line that is not the same.
type difference struct{ scenario, what, plain, inside string }

func (d difference) String() string {
	return fmt.Sprintf("%s: %s\n\tplain:  %s\n\tinside: %s", d.scenario, d.what, d.plain, d.inside)
}

// compare returns where inside is not as plain, of the scenarios that both have.
// Lines belong together by what was called, the first with the first.
func compare(plain, inside transcript) (all []difference) {
	const none = "(no such line)"
	for _, s := range inside.scenarios {
		if _, ok := plain.calls[s]; !ok {
			all = append(all, difference{s, "the scenario", none, "is there"})
			continue
		}
		left := map[string][]string{}
		for _, c := range inside.calls[s] {
			left[c.what] = append(left[c.what], c.result)
		}
		for _, c := range plain.calls[s] {
			rest := left[c.what]
			switch {
			case len(rest) == 0:
				all = append(all, difference{s, c.what, shown(c.result), none})
				continue
			case rest[0] != c.result:
				all = append(all, difference{s, c.what, shown(c.result), shown(rest[0])})
			}
			left[c.what] = rest[1:]
		}
		for _, c := range inside.calls[s] {
			if rest := left[c.what]; len(rest) > 0 {
				all = append(all, difference{s, c.what, none, shown(rest[0])})
				left[c.what] = rest[1:]
			}
		}
	}
	return all
}

// shown is a result as the list of differences writes it.
func shown(result string) string {
	if result == "" {
		return "(the line)"
	}
	return result
}

// wantAlike compares the transcript of a surrounding with the truth. What
// differs must be in the list for that mode, and what is in the list must differ.
func (w *world) wantAlike(t *testing.T, s surrounding, static bool, groups []string) {
	t.Helper()
	t.Parallel()
	w.needMode(t, s)
	inside := w.transcribe(t, s, static, groups)
	plain := w.truth(t)
	list := readDifferences(t, "testdata/differences.txt")
	for _, d := range compare(plain, inside) {
		if !list.allow(s.word(), d) {
			t.Errorf("%v differs, and the list does not say so: %v", s, d)
		}
	}
	for _, e := range list.unseen(s.word()) {
		if os.Getenv("ADIT_SCENARIOS") == "" && inside.has(e) {
			t.Errorf("%v: the list has a difference that is gone: %v", s, e)
		}
	}
}

// has reports whether the scenarios of an entry were run.
func (tr transcript) has(e *entry) bool {
	for _, s := range tr.scenarios {
		if e.is(s) {
			return true
		}
	}
	return false
}

// TestTranscriptIsTheSameEveryTime is the control: the plain transcript says the
// same twice, so that a difference is adit's.
func TestTranscriptIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	w := enter(t)
	for _, d := range compare(w.truth(t), w.transcribe(t, plainly, true, allGroups)) {
		t.Errorf("the second run differs: %v", d)
	}
}

func TestStaticProgramsSocketsAreAsWithoutAdit(t *testing.T) {
	t.Parallel()
	w := enter(t)
	for _, s := range []surrounding{{mode: "namespace"}, {mode: "seccomp"}, {mode: "seccomp", docker: true}} {
		t.Run(s.String(), func(t *testing.T) {
			groups := allGroups
			if s.docker {
				groups = groups[:len(groups)-1] // Docker refuses some of the last by itself
			}
			w.wantAlike(t, s, true, groups)
		})
	}
}

// What preload mode knows of a program's calls it knows by its libc.
func TestDynamicProgramsSocketsAreAsWithoutAdit(t *testing.T) {
	w := enter(t)
	w.wantAlike(t, surrounding{mode: "preload"}, false, streamGroups)
}
