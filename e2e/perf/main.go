package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// options are the command line.
type options struct {
	rounds   int
	seconds  float64
	adit     string        // the binary; empty: build it
	own      bool          // do not use iperf3
	quiet    time.Duration // how long an idle tunnel is watched
	list     bool
	json     string // files; empty: none
	markdown string
	names    *regexp.Regexp // of trials
	sides    []string       // contenders; empty: all
	merge    []string       // JSON files: measure nothing, report those
}

// The environment of the process inside: the binary under measurement, and the
// folder of the caller, to which files on the command line are relative.
const aditVar = "ADIT_E2E_BINARY"

func main() {
	peer.Main()
	forkMain()
	agentMain()
	socketMain()
	relayMain()
	o, err := parseOptions()
	if err == nil {
		err = start(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "perf:", err)
		os.Exit(1)
	}
}

func parseOptions() (options, error) {
	var o options
	var name, sides, files string
	flag.StringVar(&name, "case", "", "only cases whose name this `regexp` matches")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each contender is measured")
	flag.Float64Var(&o.seconds, "seconds", 2, "length of one measurement")
	flag.StringVar(&sides, "contenders", "", "only these, a `list` with commas")
	flag.DurationVar(&o.quiet, "idle", 15*time.Second, "how long an idle tunnel is watched")
	flag.BoolVar(&o.list, "list", false, "print the cases and end")
	flag.StringVar(&o.json, "json", "", "write everything to this `file` too")
	flag.StringVar(&files, "merge", "", "measure nothing, report what these JSON `files` hold, a list with commas")
	flag.StringVar(&o.markdown, "markdown", "", "write the report into this `file` too, behind its mark if it is a document")
	flag.StringVar(&o.adit, "adit", os.Getenv(aditVar), "the adit `binary` to measure (default $"+aditVar+", else build it)")
	flag.BoolVar(&o.own, "own-stream", false, "use the built-in stream even if iperf3 is there")
	flag.Parse()
	if o.rounds < 1 || o.seconds <= 0 {
		return o, errors.New("rounds and seconds must be positive")
	}
	if sides != "" {
		o.sides = strings.Split(sides, ",")
	}
	if files != "" {
		o.merge = strings.Split(files, ",")
	}
	var err error
	o.names, err = regexp.Compile(name)
	return o, err
}

// start enters the lab if need be, and measures there.
func start(o options) error {
	if o.merge != nil {
		return mergeMain(o)
	}
	chosen := choose(trials(), o.names, o.sides)
	if len(chosen) == 0 {
		return errors.New("no such case: see -list")
	}
	if o.list {
		for _, t := range chosen {
			fmt.Printf("%-16s %s\n", t.name, t.about)
		}
		return nil
	}
	if lab.Inside() {
		o.adit = os.Getenv(aditVar)
		return measure(o, chosen)
	}
	dir, err := os.MkdirTemp("", "adit-perf-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if o.adit == "" {
		o.adit = filepath.Join(dir, "adit")
		if err := build(o.adit); err != nil {
			return fmt.Errorf("build adit: %w", err)
		}
	}
	if o.adit, err = filepath.Abs(o.adit); err != nil {
		return err
	}
	code, err := lab.Enter(dir, aditVar+"="+o.adit, commitVar+"="+commit())
	if err == nil && code != 0 {
		os.RemoveAll(dir)
		os.Exit(code)
	}
	return err
}

// build compiles adit as the Makefile does.
func build(output string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs,adit_quiet", "-ldflags", "-s -w -E adit_entry -checklinkname=0", "-o", output, "adit/cmd/adit")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// measure runs the trials, one after the other, and writes the report. One that
// fails is said to have failed, and the next begins.
func measure(o options, chosen []trial) error {
	if err := lab.Adopt(); err != nil {
		return err
	}
	w, err := newWorld(o)
	if err != nil {
		return err
	}
	r := newReport(w, o)
	for _, t := range chosen {
		r.Results = append(r.Results, w.run(t, o.rounds))
		writeResult(os.Stdout, r.Results[len(r.Results)-1], false)
	}
	w.endFar()
	if err := r.write(o); err != nil {
		return err
	}
	if n := r.failures(); n > 0 {
		return fmt.Errorf("%d of what must be is not, see above", n)
	}
	return nil
}

// run runs all rounds of a trial. Another side begins in each.
func (w *world) run(t trial, rounds int) result {
	if t.rounds > 0 {
		rounds = min(rounds, t.rounds)
	}
	r := result{Name: t.name, About: t.about, Against: t.against}
	for i := range rounds {
		w.round = i + 1
		for k := range t.sides {
			side := t.sides[(i+k)%len(t.sides)]
			x := sample{Round: w.round, Side: side}
			f, err := t.measure(w, side)
			var no skipped
			if errors.As(err, &no) {
				x.Skipped = no.Error()
			} else if err != nil {
				x.Error = err.Error()
				fmt.Fprintf(os.Stderr, "perf: %s, round %d, %s: %v\n", t.name, w.round, side, err)
			}
			x.Figures = f
			r.Samples = append(r.Samples, x)
		}
	}
	r.conclude(t.sides, t.gates)
	return r
}
