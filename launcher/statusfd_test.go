package launcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// statusLines returns the lines that write makes a statusWriter write, as a
// reader of --status-fd gets them.
func statusLines(t *testing.T, write func(s *statusWriter)) (lines []map[string]any) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := newStatusWriter(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close() // the caller's own; ours is a copy
	write(s)
	s.f.Close() // exit has, in a run that comes so far
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%q is not JSON: %v", line, err)
		}
		at, err := time.Parse(time.RFC3339Nano, m["time"].(string))
		if err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%q does not say when", line)
		}
		delete(m, "time")
		lines = append(lines, m)
	}
	return lines
}

func wantLines(t *testing.T, got []map[string]any, want ...map[string]any) {
	t.Helper()
	if !slices.EqualFunc(got, want, maps.Equal[map[string]any, map[string]any]) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestStatusTellsTheLifeOfARun(t *testing.T) {
	got := statusLines(t, func(s *statusWriter) {
		for _, r := range []report{
			{Event: eventMode, Text: "tun"},
			{Event: eventWaiting, Text: "for a handshake"}, // for a terminal only
			{Event: eventHandshake, Text: "PEER"},
			{Event: eventReady}, // the command has no pid yet
			{Event: eventStarted, PID: 42},
			{Event: eventWarning, Text: "beware"},
			{Event: eventDown, Text: "PEER"},
		} {
			s.report(&r, "namespace")
		}
		s.exit(Result{Code: 0}, nil)
	})
	wantLines(t, got,
		map[string]any{"event": "mode", "mode": "namespace"},
		map[string]any{"event": "handshake", "peer": "PEER"},
		map[string]any{"event": "ready", "pid": 42.0},
		map[string]any{"event": "down", "peer": "PEER"},
		map[string]any{"event": "exit", "code": 0.0, "origin": "command"})
}

// A status of 125 can be the command's own: who wants to know asks for origin.
func TestStatusSaysWhoseExitItWas(t *testing.T) {
	for _, c := range []struct {
		res  Result
		err  error
		want map[string]any
	}{
		{Result{Code: 125}, nil, map[string]any{"event": "exit", "code": 125.0, "origin": "command"}},
		{Result{Code: 137, Signal: unix.SIGKILL}, nil,
			map[string]any{"event": "exit", "code": 137.0, "signal": 9.0, "origin": "command"}},
		{Result{}, failed(errors.New("no way")),
			map[string]any{"event": "exit", "code": 125.0, "origin": "tool", "error": "no way"}},
		{Result{}, errNotFound("nothing"),
			map[string]any{"event": "exit", "code": 127.0, "origin": "tool", "error": "nothing: command not found"}},
	} {
		wantLines(t, statusLines(t, func(s *statusWriter) { s.exit(c.res, c.err) }), c.want)
	}
}

func TestNoStatusDescriptorMeansNoStatus(t *testing.T) {
	s, err := newStatusWriter(-1)
	if s != nil || err != nil {
		t.Fatalf("got %v, %v", s, err)
	}
	s.report(&report{Event: eventStarted, PID: 42}, "namespace")
	s.exit(Result{}, nil)
}

func TestClosedStatusDescriptorIsAnError(t *testing.T) {
	if _, err := newStatusWriter(1 << 20); !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v, want EBADF", err)
	}
}

// Who asks for the status and does not read it must not keep the command's end
// from being seen.
func TestStatusThatNobodyReadsDoesNotHoldAnythingUp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := newStatusWriter(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	unix.FcntlInt(r.Fd(), unix.F_SETPIPE_SZ, 4096)
	begin := time.Now()
	for range 1000 {
		s.report(&report{Event: eventHandshake, Text: strings.Repeat("x", 100)}, "")
	}
	s.exit(Result{}, nil)
	if took := time.Since(begin); took > 10*statusPatience {
		t.Errorf("it took %v", took)
	}
}
