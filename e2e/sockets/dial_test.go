package sockets

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
)

// calls returns the path of testdata/calls.
func (w *world) calls(t testing.TB, static bool) string {
	t.Helper()
	sources, err := filepath.Glob("testdata/calls/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	name := "calls"
	if static {
		name += "-static"
	}
	return w.compile(t, name, static, sources...)
}

// answers are the lines of testdata/calls, by their first word.
func answers(text string) map[string][]string {
	m := map[string][]string{}
	for l := range strings.Lines(text) {
		if f := strings.Fields(l); len(f) > 0 {
			m[f[0]] = f[1:]
		}
	}
	return m
}

// seconds reads a number.
func seconds(t testing.TB, text string) time.Duration {
	t.Helper()
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("not a number: %q", text)
	}
	return time.Duration(s * float64(time.Second))
}

// A span is when something must have happened.
type span struct{ from, to time.Duration }

func (s span) has(d time.Duration) bool { return s.from <= d && d <= s.to }

func (s span) String() string { return fmt.Sprintf("%v to %v", s.from, s.to) }

// atOnce is no more than a few times there and back, on a busy machine, on which
// the first packet may have to be sent twice.
var atOnce = span{0, 1900 * time.Millisecond}

// A dialRow is one kind of peer.
type dialRow struct {
	name   string
	to     []string // addresses of both families
	port   int
	within string // how long events are awaited: for ever is not tested
	syns   string // TCP_SYNCNT, or nothing
	gate   bool   // the peer answers when the gate opens

	block, nonblock string // what connect returns
	took            span   // it, or the event
	events          string // of the nonblocking one
	soError         string // of it
}

var both = []string{lab.ServiceV4.String(), lab.ServiceV6.String()}

// failed are the events of a connection that failed.
const failed = "IN OUT ERR HUP RDHUP"

// dialRows are what Linux does: tcp(7), connect(2). A nonblocking connect of
// which an error is known at once is refused at once.
var dialRows = []dialRow{
	{name: "a listener", to: both, port: portEcho, within: "5", block: "0", nonblock: "EINPROGRESS", took: atOnce, events: "OUT", soError: "0"},
	{name: "a peer that refuses", to: both, port: portRefuses, within: "5",
		block: "ECONNREFUSED", nonblock: "EINPROGRESS", took: atOnce, events: failed, soError: "ECONNREFUSED"},
	{name: "a peer that drops", to: []string{drops[0].String(), drops[1].String()}, port: portEcho, within: "1.2",
		block: "EINPROGRESS", nonblock: "EINPROGRESS", took: span{1100 * time.Millisecond, 3 * time.Second}, events: "", soError: "0"},
	{name: "a peer that drops, once more", to: []string{drops[0].String(), drops[1].String()}, port: portEcho, within: "9", syns: "1",
		block: "ETIMEDOUT", nonblock: "EINPROGRESS", took: span{2 * time.Second, 8 * time.Second}, events: failed, soError: "ETIMEDOUT"},
	{name: "a peer that answers late", to: both, within: "9", gate: true,
		block: "0", nonblock: "EINPROGRESS", took: span{500 * time.Millisecond, 5 * time.Second}, events: "OUT", soError: "0"},
	{name: "a host that a router does not know", to: []string{nobody[0].String()}, port: portEcho, within: "5",
		block: "EHOSTUNREACH", nonblock: "EINPROGRESS", took: atOnce, events: failed, soError: "EHOSTUNREACH"},
	{name: "a host that a router does not know, IPv6", to: []string{nobody[1].String()}, port: portEcho, within: "5",
		block: "ENETUNREACH", nonblock: "EINPROGRESS", took: atOnce, events: failed, soError: "ENETUNREACH"},
	{name: "outside of AllowedIPs", to: []string{"203.0.113.1", "2001:db8:99::1"}, port: portEcho, within: "5",
		block: "ENETUNREACH", nonblock: "ENETUNREACH", took: atOnce, soError: "0"},
	{name: "a peer that resets later", to: both, port: portResets, within: "5", block: "0", nonblock: "EINPROGRESS", took: atOnce, events: "OUT", soError: "0"},
	{name: "nobody on the own loopback", to: []string{"127.0.0.1", "::1"}, port: 5999, within: "5",
		block: "ECONNREFUSED", nonblock: "EINPROGRESS", took: atOnce, events: failed, soError: "ECONNREFUSED"},
}

// programsOf are the surroundings of the tables, with the kind of program.
var programsOf = []struct {
	surrounding
	static bool
}{
	{plainly, true}, {surrounding{mode: "namespace"}, true}, {surrounding{mode: "seccomp"}, true},
	{surrounding{mode: "seccomp", root: true}, true}, {surrounding{mode: "seccomp", docker: true}, true},
	{surrounding{mode: "preload"}, false},
}

// eachProgram runs f in every surrounding, one after the other. Plainly is the
// control.
func eachProgram(t *testing.T, f func(t *testing.T, w *world, s surrounding, program string)) {
	w := enter(t)
	for _, p := range programsOf {
		t.Run(p.String(), func(t *testing.T) {
			w.needMode(t, p.surrounding)
			f(t, w, p.surrounding, w.calls(t, p.static))
		})
	}
}

// inParallel is eachProgram for what waits more than it works.
func inParallel(t *testing.T, f func(t *testing.T, w *world, s surrounding, program string)) {
	t.Parallel()
	eachProgram(t, func(t *testing.T, w *world, s surrounding, program string) {
		t.Parallel()
		f(t, w, s, program)
	})
}

func TestErrnoOfAConnectionComesAsLinuxHasIt(t *testing.T) {
	inParallel(t, func(t *testing.T, w *world, s surrounding, program string) {
		for _, r := range dialRows {
			for _, to := range r.to {
				for _, how := range []string{"block", "nonblock"} {
					t.Run(r.name+"/"+to+"/"+how, func(t *testing.T) {
						t.Parallel()
						r.run(t, w.client(t, s), program, to, how)
					})
				}
			}
		}
	})
}

// run makes one connection and looks at what came of it.
func (r dialRow) run(t *testing.T, c *client, program, to, how string) {
	if r.gate {
		r.port = c.fullPort()
	}
	argv := []string{program, "dial", to, strconv.Itoa(r.port), how, r.within}
	if r.syns != "" {
		argv = append(argv, r.syns)
	}
	if r.gate {
		c.gate(t, "w")
	}
	k := c.talk(t, 30*time.Second, argv...)
	k.line("calling")
	if r.gate {
		c.gate(t, "o") // the first SYN is dropped before it opens
	}
	a := answers(k.rest())
	want := r.block
	if how == "nonblock" {
		want = r.nonblock
	}
	connect, event := a["connect"], a["event"]
	if len(connect) != 2 || connect[0] != want {
		t.Fatalf("got connect %v, want %s", connect, want)
	}
	took := seconds(t, connect[1])
	if want == "EINPROGRESS" && how == "nonblock" {
		if !atOnce.has(took) {
			t.Errorf("a nonblocking connect took %v", took)
		}
		if len(event) == 0 {
			t.Fatalf("got %v, want an event", a)
		}
		took = seconds(t, event[0])
		r.wantEvents(t, event[1:])
	}
	if !r.took.has(took) {
		t.Errorf("it took %v, want %v", took, r.took)
	}
	if how == "block" {
		return
	}
	if got := a["so_error"]; len(got) != 1 || got[0] != r.soError && !(r.port == portResets && got[0] == "ECONNRESET") {
		t.Errorf("got SO_ERROR %v, want %s", got, r.soError)
	}
}

// wantEvents checks the events. A connection that succeeded may have more to tell
// by the time that it is looked at.
func (r dialRow) wantEvents(t *testing.T, got []string) {
	t.Helper()
	if text := strings.Join(got, " "); text == r.events {
		return
	}
	if r.events == "OUT" && slices.Contains(got, "OUT") && (r.port == portResets || !slices.Contains(got, "ERR")) {
		return
	}
	t.Errorf("got events %q, want %q", got, r.events)
}
