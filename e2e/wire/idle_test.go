package wire

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// partsOf returns adit's own processes of a run, by argv[0].
func partsOf(front int) map[string]int {
	parts := map[string]int{"front": front}
	for _, p := range lab.Descendants(front) {
		name, _, _ := strings.Cut(p.Command, " ")
		if name = filepath.Base(name); strings.HasPrefix(name, "adit-") {
			parts[name] = p.PID
		}
	}
	return parts
}

// begun returns the processes of p once what follows the beginning is over: the answer
// to the handshake's first data comes after ten seconds at the latest (§6.5).
func begun(t *testing.T, p *suite.Program) (parts map[string]int) {
	t.Helper()
	parts = partsOf(p.PID())
	if len(parts) != 3 {
		t.Fatalf("got the processes %v, want front, engine and keeper", parts)
	}
	staysFor(t, p, 15*time.Second)
	return parts
}

// since returns how often each part has been woken up since switchesOf returned
// before.
func since(before, parts map[string]int) (each map[string]int, sum int) {
	each = switchesOf(parts)
	for name, n := range before {
		each[name] -= n
		sum += each[name]
	}
	return each, sum
}

func switchesOf(parts map[string]int) map[string]int {
	each := map[string]int{}
	for name, pid := range parts {
		each[name] = lab.Switches(pid)
	}
	return each
}

// staysFor waits, and fails if p ends or says something meanwhile.
func staysFor(t *testing.T, p *suite.Program, d time.Duration) {
	t.Helper()
	select {
	case l, ok := <-p.Lines():
		t.Fatalf("the command says %q (%v), or has ended: %s", l, ok, p.Said())
	case <-time.After(d):
	}
}

// idler is a command that does nothing, once it has begun.
var idler = []string{"sh", "-c", "echo begun; read x"}

// No timer of adit's ticks, nor one of Go's runtime, whose monitor would look
// around once a minute in every process.
func TestIdleRunDoesNotWakeUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	p := w.run(t, w.conf(t, endpointV4, ""), idler...)
	p.Line(suite.Deadline)
	parts := begun(t, p)
	before := switchesOf(parts)
	staysFor(t, p, 150*time.Second)
	each, n := since(before, parts)
	t.Logf("woken up: %v", each)
	if n > 2 { // not ours: a page that was taken away, a signal
		t.Errorf("woken up %d times in 150 s: %v", n, each)
	}
	p.EndInput()
	p.End(suite.Deadline)
}

// A keepalive wakes one thread up, and nothing else does: in all other seconds all
// threads sleep, but for one handshake (§6.2: after 120 s). The runtime's monitor is
// allowed for. It looks around more often while the processor is somebody else's:
// what a keepalive costs is the median's.
func TestKeepaliveIsTheOnlyWakeUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	text, err := os.ReadFile(w.conf(t, endpointV4, ""))
	if err != nil {
		t.Fatal(err)
	}
	p := w.run(t, w.file(t, "wg0.conf", string(text)+"PersistentKeepalive = 25\n"), idler...)
	p.Line(suite.Deadline)
	const intervals = 5
	parts := begun(t, p)
	var moments []int // how often in each second that was not slept through
	for end := time.Now().Add(intervals * 25 * time.Second); time.Now().Before(end); {
		before := switchesOf(parts)
		staysFor(t, p, time.Second)
		if _, n := since(before, parts); n > 0 {
			moments = append(moments, n)
		}
	}
	t.Logf("woken up: %v times", moments)
	if n := len(moments); n < intervals-1 || n > intervals+2 {
		t.Fatalf("awake in %d seconds of %d intervals, want once in each", n, intervals)
	}
	slices.Sort(moments)
	if most := moments[len(moments)/2]; most > 3 {
		t.Errorf("a keepalive wakes threads up %d times, want once, three times at most", most)
	}
	p.EndInput()
	p.End(suite.Deadline)
}

// The executable's pages that only starting needs are given back.
func TestIdleRunTakesLittleMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wireguardServer(t)
	p := w.run(t, w.conf(t, endpointV4, ""), idler...)
	p.Line(suite.Deadline)
	const allowed = 20e6
	parts := partsOf(p.PID())
	sum := 0
	for end := time.Now().Add(suite.Deadline); ; time.Sleep(20 * time.Millisecond) {
		sum = 0
		for _, pid := range parts {
			sum += lab.RSS(pid)
		}
		if sum <= allowed || time.Now().After(end) {
			break
		}
	}
	t.Logf("resident: %.1f MB in all", float64(sum)/1e6)
	if sum > allowed {
		t.Errorf("%v have %.1f MB resident, want at most %.0f", slices.Sorted(maps.Keys(parts)), float64(sum)/1e6, allowed/1e6)
	}
	p.EndInput()
	p.End(suite.Deadline)
}
