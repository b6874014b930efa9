package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"adit/config"
	"adit/hostile"
	"adit/launcher"

	"github.com/urfave/cli/v2"
)

// Exit statuses of adit leaktest.
const (
	leaktestLeaked   = 1
	leaktestUntested = 3
)

func leaktestFlags() []cli.Flag {
	return append(append(configFlags(), tunnelFlags()...), jsonFlag())
}

// leaktest is adit leaktest: the list of package hostile in a tunnel of the
// user's, and a table of what came of it. Exit status 1 when something leaked, 3
// when that could not be told.
func (a *adit) leaktest(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	t := &hostile.Trial{
		Mode: hostile.Namespace, Run: append([]string{"run"}, typedOptions(c)...), HostDNS: c.String("dns") == "host",
		Started: func(what string) {
			a.ui.notice(launcher.Notice{Kind: launcher.Waiting, Text: fmt.Sprintf(waitLeaktest, what)})
		},
	}
	var err error
	if t.Config, err = a.readConfig(c); err != nil {
		return err
	}
	ctx, stop := untilSignal(a.ctx)
	defer stop()
	r, err := a.trial(ctx, t)
	a.ui.notice(launcher.Notice{Kind: launcher.WaitOver})
	if by, ok := context.Cause(ctx).(endedBy); ok {
		a.result = launcher.Result{Code: 128 + int(by), Signal: syscall.Signal(by)}
		return nil
	}
	if err != nil {
		return untested(err)
	}
	if r.Failed != "" {
		// adit run has said why, and what to type.
		a.result = launcher.Result{Code: leaktestUntested}
		return a.ui.repeat(retyped(r.Failed))
	}
	text := leaktestText(r)
	if c.Bool("json") {
		if text, err = leaktestJSON(r); err != nil {
			return err
		}
	}
	a.result = launcher.Result{Code: leaktestCode(r)}
	return a.ui.print(text)
}

// endedBy is the signal that has ended a context.
type endedBy syscall.Signal

func (e endedBy) Error() string { return syscall.Signal(e).String() }

// untilSignal returns a context that ends with ctx, with the first signal that is
// to end this process, which is the cause then, and with stop.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	signals := make(chan os.Signal, 1) // one is enough
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // by nohup, say
			signal.Notify(signals, sig)
		}
	}
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case sig := <-signals:
			end(endedBy(sig.(syscall.Signal)))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); end(nil) }
}

// retyped returns the words of a run as if leaktest had said them: what it ran in
// the tunnel was this program, by words that nobody can type.
func retyped(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		typed, inside := beforeCommand(line)
		switch {
		case inside && strings.HasSuffix(typed, " -vv"): // leaktest has no such option
			line = typed + " -- " + example + "\n"
		case inside:
			line = strings.Replace(typed, "adit run", "adit leaktest", 1) + "\n"
		}
		b.WriteString(strings.Replace(line, "adit run --help", "adit leaktest --help", 1))
	}
	return b.String()
}

// beforeCommand returns what stands in a line before the command that leaktest has
// run, which begins with this program itself or with a shell that becomes it.
func beforeCommand(line string) (typed string, is bool) {
	i := strings.Index(line, " "+hostile.InsideWord)
	if i < 0 {
		return line, false
	}
	i = strings.LastIndex(line[:i], " -- ")
	if i < 0 {
		return line, false
	}
	return line[:i], true
}

// untested is the failure of a test that could not be made.
func untested(err error) error {
	f := asFailure(msgLeaktest.because(err))
	f.code = leaktestUntested
	return f
}

// typedOptions returns the options of c as they were typed, but for those that
// are of the report and for a configuration that can be read only once.
func typedOptions(c *cli.Context) (words []string) {
	for _, f := range append(configFlags(), tunnelFlags()...) {
		name := f.Names()[0]
		if !c.IsSet(name) || name == "config-fd" || name == "config" && slices.Contains(c.StringSlice(name), "-") {
			continue
		}
		switch f.(type) {
		case *cli.BoolFlag:
			words = append(words, dashes(name)+"="+strconv.FormatBool(c.Bool(name)))
		case *cli.StringSliceFlag:
			for _, v := range c.StringSlice(name) {
				words = append(words, dashes(name), v)
			}
		default:
			words = append(words, dashes(name), c.String(name))
		}
	}
	return words
}

// readConfig reads a configuration that can be read only once, since several
// runs want it, and returns nil for any other. That there is none at all is an
// error.
func (a *adit) readConfig(c *cli.Context) ([]byte, error) {
	files, env := c.StringSlice("config"), a.getenv("ADIT_CONFIG")
	switch {
	case c.IsSet("config-fd") && len(files) > 0:
		return nil, msgTwoConfigs.fail("-c", "--config-fd", "adit leaktest")
	case c.IsSet("config-fd"):
		n, err := strconv.Atoi(c.String("config-fd"))
		if err != nil || n < 3 {
			return nil, msgConfigFD.fail()
		}
		f := os.NewFile(uintptr(n), fmt.Sprint("descriptor ", n))
		defer f.Close()
		return readAll(c, f, f.Name())
	case len(files) > 1 && slices.Contains(files, "-"):
		return nil, msgNestedStdin.fail()
	case len(files) == 1 && files[0] == "-", len(files) == 0 && env == "-":
		return readAll(c, a.in, "standard input")
	case len(files) == 0 && env == "" && a.getenv(envContent) == "":
		return nil, a.noConfig(c)
	}
	return nil, nil
}

// readAll reads a configuration. One that cannot be used is found here, where its
// name is that of the user's.
func readAll(c *cli.Context, f *os.File, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, 11<<20)) // more than a configuration may have
	if err == nil {
		_, err = config.Parse(name, bytes.NewReader(b))
	}
	switch {
	case err != nil && isIO(err) && c.IsSet("config-fd"):
		return nil, msgConfigFD.because(err)
	case err != nil && isIO(err):
		return nil, untested(err)
	case err != nil:
		f := asFailure(badConfig(c, err))
		f.code = leaktestUntested
		return nil, f
	}
	return b, nil
}

// leaktestCode returns the exit status of a report.
func leaktestCode(r *hostile.Report) int {
	switch {
	case hostile.Count(r.Rows, hostile.Leaked) > 0:
		return leaktestLeaked
	case hostile.Count(r.Rows, hostile.Untried) > 0 || r.Lost > 0:
		return leaktestUntested
	}
	return 0
}

// verdicts are in the order in which they are counted.
var verdicts = []struct {
	verdict hostile.Verdict
	words   string
}{
	{hostile.Held, "held"}, {hostile.Absent, "not there on this machine"}, {hostile.OpenDoor, "open on purpose"},
	{hostile.Otherwise, "held in another way than expected"}, {hostile.Untried, "could not be tried"}, {hostile.Leaked, "leaked"},
}

// leaktestText lays the report out for reading.
func leaktestText(r *hostile.Report) string {
	var b strings.Builder
	line := func(name, expected, happened, verdict string) {
		text := fmt.Sprintf("%-24s  %-22s  %-38s  %s", clip(name, 24), clip(expected, 22), clip(happened, 38), verdict)
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("attempt", "expected", "what happened", "verdict")
	category := ""
	for _, row := range r.Rows {
		if row.Attempt.Category != category {
			category = row.Attempt.Category
			b.WriteString(category + ":\n")
		}
		line("  "+row.Attempt.Name, row.Expected.String(), row.Happened(), loud(row.Verdict))
	}
	for _, v := range []hostile.Verdict{hostile.OpenDoor, hostile.Otherwise, hostile.Untried, hostile.Leaked} {
		for _, row := range r.Rows {
			if row.Verdict == v {
				fmt.Fprintf(&b, "%s: %s: %s%s\n", v, row.Attempt.Name, row.Attempt.Does, seenAt(row.Seen))
			}
		}
	}
	fmt.Fprintf(&b, "watched: %s\n", watched(r))
	var counts []string
	for _, v := range verdicts {
		if n := hostile.Count(r.Rows, v.verdict); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v.words))
		}
	}
	fmt.Fprintf(&b, "mode %s, %d attempts: %s\n", r.World.Mode, len(r.Rows), strings.Join(counts, ", "))
	return b.String()
}

// loud returns a verdict as it stands in the table: what is bad, to be seen at a
// glance.
func loud(v hostile.Verdict) string {
	if v == hostile.Leaked || v == hostile.Untried {
		return strings.ToUpper(string(v))
	}
	return string(v)
}

func seenAt(where []string) string {
	if len(where) == 0 {
		return ""
	}
	return "; seen: " + printable(strings.Join(where, ", "))
}

// watched says who looked, and what nobody looked at.
func watched(r *hostile.Report) string {
	at := r.World.Host4.String()
	if r.World.Host6.IsValid() {
		at += ", " + r.World.Host6.String()
	}
	s := fmt.Sprintf("listeners at %s and on loopback, port %d, and unix sockets; ", at, r.World.Port)
	switch {
	case r.NoEyes != nil:
		s += "no capture of packets (" + printable(r.NoEyes.Error()) + "): what reaches none of them would not be seen"
	case r.Lost > 0:
		s += fmt.Sprintf("a capture on every interface, which had no room for %d packets", r.Lost)
	default:
		s += "a capture on every interface of the host"
	}
	if r.Twice > 0 {
		s += fmt.Sprintf("; %d packets were seen in the tunnel and outside: if its other end is not on this machine, they leaked", r.Twice)
	}
	return s
}

func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// A leaktestReport is what adit leaktest --json prints.
type leaktestReport struct {
	Mode     string         `json:"mode"`
	Captured bool           `json:"captured"` // packets, on every interface of the host
	Lost     int            `json:"lost"`     // packets that were not looked at
	Twice    int            `json:"twice"`    // packets in the tunnel and outside: of a gateway here, or leaked
	Counts   map[string]int `json:"counts"`   // by verdict
	Attempts []leaktestRow  `json:"attempts"`
}

type leaktestRow struct {
	Name     string   `json:"name"`
	Category string   `json:"category"`
	Does     string   `json:"does"`
	Expected string   `json:"expected"`
	Happened string   `json:"happened"`
	Verdict  string   `json:"verdict"`
	Seen     []string `json:"seen,omitempty"`
}

func leaktestJSON(r *hostile.Report) (string, error) {
	out := leaktestReport{Mode: r.World.Mode, Captured: r.NoEyes == nil, Lost: r.Lost, Twice: r.Twice, Counts: make(map[string]int)}
	for _, row := range r.Rows {
		out.Counts[string(row.Verdict)]++
		out.Attempts = append(out.Attempts, leaktestRow{row.Attempt.Name, row.Attempt.Category, row.Attempt.Does,
			row.Expected.String(), row.Happened(), string(row.Verdict), row.Seen})
	}
	j, err := json.MarshalIndent(out, "", "  ")
	return string(j) + "\n", err
}

// leaktestInside is the hidden command that makes the attempts, in the tunnel.
func leaktestInside(c *cli.Context) error {
	return hostile.Inside(c.Args().First(), c.Args().Tail(), os.Stdout)
}

// leaktestVictim is the hidden command that waits outside to be robbed.
func leaktestVictim(c *cli.Context) error {
	return hostile.RunVictim(c.Args().Get(0), c.Args().Get(1))
}
