package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"adit/hostile"
)

// reportOf returns a report of some attempts in which one got out.
func reportOf(verdicts ...hostile.Verdict) *hostile.Report {
	r := &hostile.Report{World: hostile.World{Mode: "namespace", Port: 20000}, NoEyes: errors.New("socket(AF_PACKET): operation not permitted")}
	for i, v := range verdicts {
		a := hostile.All()[i]
		row := hostile.Row{Attempt: a, Expected: a.Expect["namespace"], Result: hostile.Result{State: hostile.StateSent}, Verdict: v}
		if v == hostile.Leaked {
			row.Seen = []string{"eth0"}
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

func TestLeaktestEndsByWhatLeaked(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	lost := reportOf(hostile.Held)
	lost.Lost = 3
	doubled := reportOf(hostile.Held)
	doubled.Twice = 7
	for _, c := range []struct {
		about  string
		report *hostile.Report
		err    error
		code   int
		want   string // in the report
	}{
		{"all is well", reportOf(hostile.Held, hostile.Absent, hostile.OpenDoor, hostile.Otherwise), nil, 0, "4 attempts: 1 held, 1 not there on this machine, 1 open on purpose, 1 held in another way than expected"},
		{"one leaked", reportOf(hostile.Held, hostile.Leaked, hostile.Untried), nil, 1, "leaked: udp6: sendto by IPv6; seen: eth0"},
		{"one was not tried", reportOf(hostile.Held, hostile.Untried), nil, 3, "1 could not be tried"},
		{"packets were not looked at", lost, nil, 3, "watched: "},
		{"packets came out again", doubled, nil, 0, "; 7 packets were seen in the tunnel and outside"},
		{"the tunnel cannot be used", &hostile.Report{Failed: "adit: error: no handshake\n"}, nil, 3, ""},
		{"no watch", nil, errors.New("no room"), 3, ""},
	} {
		s := call{args: []string{"leaktest", "-c", "wg0.conf"}, trial: func(context.Context, *hostile.Trial) (*hostile.Report, error) { return c.report, c.err }}.run(t)
		if s.result.Code != c.code || !strings.Contains(s.out, c.want) || (c.want == "") != (s.out == "") {
			t.Errorf("%s: got status %d and %q, want %d and %q\n%s", c.about, s.result.Code, s.out, c.code, c.want, s.err)
		}
		for line := range strings.Lines(s.out) {
			if strings.HasPrefix(line, "watched: ") && !strings.Contains(line, "no capture of packets") && c.report.NoEyes != nil && c.report.Lost == 0 {
				t.Errorf("%s: does not say that nobody captured: %s", c.about, line)
			}
		}
	}
}

func TestLeaktestAsJSON(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	s := call{args: []string{"leaktest", "-c", "wg0.conf", "--json"}, trial: func(context.Context, *hostile.Trial) (*hostile.Report, error) {
		return reportOf(hostile.Held, hostile.Leaked), nil
	}}.run(t)
	var r leaktestReport
	if err := json.Unmarshal([]byte(s.out), &r); err != nil || s.result.Code != 1 {
		t.Fatalf("got status %d, %v\n%s", s.result.Code, err, s.out)
	}
	if r.Mode != "namespace" || r.Captured || r.Counts["held"] != 1 || len(r.Attempts) != 2 || r.Attempts[1].Verdict != "leaked" || r.Attempts[1].Seen[0] != "eth0" {
		t.Errorf("got %+v", r)
	}
}

// The runs have the options that were typed, and a configuration that can be read
// only once is read once.
func TestLeaktestPassesItsOptionsOn(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	for _, c := range []struct {
		args, want string
		stdin      string
	}{
		{"leaktest -c wg0.conf", "run --config wg0.conf", ""},
		{"leaktest -c a.conf -c b.conf --strict -4 --json", "run --config a.conf --config b.conf --strict=true -4=true", ""},
		{"leaktest -c - --dns host --set interface.MTU=1300", "run --set interface.MTU=1300 --dns host", goodConf},
	} {
		var got *hostile.Trial
		call{args: strings.Fields(c.args), stdin: c.stdin, trial: func(_ context.Context, t *hostile.Trial) (*hostile.Report, error) {
			got = t
			return reportOf(hostile.Held), nil
		}}.run(t)
		if got == nil {
			t.Errorf("adit %s: made no trial", c.args)
			continue
		}
		if !slices.Equal(got.Run, strings.Fields(c.want)) || string(got.Config) != c.stdin || got.HostDNS != strings.Contains(c.args, "host") {
			t.Errorf("adit %s: got %q, a configuration of %d bytes, host's resolver %v", c.args, got.Run, len(got.Config), got.HostDNS)
		}
	}
}

// What a run says is about a command that nobody has typed.
func TestLeaktestHintsCanBeTyped(t *testing.T) {
	for said, want := range map[string]string{
		"adit: error: no handshake\nadit: hint: see each attempt: adit run -c a.conf -vv -- /proc/self/exe leaktest-inside '{\"x\":1}'\n": "adit: error: no handshake\nadit: hint: see each attempt: adit run -c a.conf -vv -- curl https://example.com\n",
		"adit: hint: adit run -c ./a.conf -- /proc/self/exe leaktest-inside '{}'\n":                                                       "adit: hint: adit leaktest -c ./a.conf\n",
		"adit: hint: or: ADIT_CONFIG=./a.conf adit run -- /proc/self/exe leaktest-inside '{}' daemon\n":                                   "adit: hint: or: ADIT_CONFIG=./a.conf adit leaktest\n",
		"adit: hint: adit run --mode=preload -c ./a.conf -- /bin/sh -c 'exec \"$0\" \"$@\"' /usr/bin/adit leaktest-inside '{}'\n":         "adit: hint: adit leaktest --mode=preload -c ./a.conf\n",
		"adit: hint: adit run --help\n":             "adit: hint: adit leaktest --help\n",
		"adit: hint: adit setup apparmor --print\n": "adit: hint: adit setup apparmor --print\n",
	} {
		if got := retyped(said); got != want {
			t.Errorf("%s: got %s, want %s", said, got, want)
		}
	}
}

// The configuration is handed on by a descriptor that the user has not opened.
func TestLeaktestNamesStandardInput(t *testing.T) {
	s := call{args: []string{"leaktest", "-c", "-"}, stdin: "[Interface]\nPrivateKey = x\n"}.run(t)
	if s.result.Code != leaktestUntested || !strings.Contains(s.err, "standard input:2: PrivateKey: ") {
		t.Errorf("got status %d and %q", s.result.Code, s.err)
	}
}
