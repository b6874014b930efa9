package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"adit/config"
	"adit/launcher"

	"github.com/urfave/cli/v2"
)

func doctorFlags() []cli.Flag { return append(configFlags(), jsonFlag()) }

// A doctorReport is what adit doctor --json prints.
type doctorReport struct {
	Modes   []modeReport  `json:"modes"` // strongest first
	Configs []configNotes `json:"configs,omitempty"`
}

type modeReport struct {
	Mode   string   `json:"mode"`
	Covers string   `json:"covers"`
	Notes  []string `json:"notes,omitempty"` // what it does not promise
	Works  bool     `json:"works"`
	Detail string   `json:"detail,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Hints  []string `json:"hints,omitempty"`
}

type configNotes struct {
	Source string   `json:"source,omitempty"`
	Error  string   `json:"error,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// doctor is adit doctor: each mode by a real attempt, what is in its way and
// what to type; with a configuration, what there is to say about that. Exit
// status 1 when no mode works.
func (a *adit) doctor(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	var r doctorReport
	var bad error // is told in the end: the modes are of use all the same
	if c.IsSet("config") || c.IsSet("config-fd") {
		r.Configs, bad = a.lookAt(c)
	}
	works := false
	for _, m := range a.probe(a.ctx) {
		works = works || m.Works
		m.Reason = strings.TrimPrefix(m.Reason, "mode "+m.Mode+": ")
		r.Modes = append(r.Modes, modeReport(m))
	}
	text := r.text()
	if c.Bool("json") {
		j, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		text = string(j) + "\n"
	}
	if err := a.ui.print(text); err != nil {
		return err
	}
	if !works {
		a.result = launcher.Result{Code: 1}
	}
	return bad
}

// lookAt reports on the configurations that c names, outermost first, and
// returns the first error of any.
func (a *adit) lookAt(c *cli.Context) (list []configNotes, bad error) {
	all, bad := a.outer(c)
	cfg, err := a.load(c)
	if err == nil {
		all = append(all, cfg)
	}
	bad = cmp.Or(bad, err)
	for _, cfg := range all {
		r := configNotes{Source: cfg.Source}
		for _, n := range cfg.Notes {
			r.Notes = append(r.Notes, n.In(cfg.Source))
		}
		list = append(list, r)
	}
	var e *config.Error
	if errors.As(bad, &e) {
		list = append(list, configNotes{Source: e.File, Error: e.Error()})
	} else if bad != nil {
		list = append(list, configNotes{Error: bad.Error()})
	}
	return list, bad
}

// text lays the report out for reading.
func (r *doctorReport) text() string {
	var b strings.Builder
	chosen := false
	for _, m := range r.Modes {
		verdict := "no"
		if m.Works {
			verdict = "works"
			if !chosen {
				verdict, chosen = "works, is used", true
			}
		}
		fmt.Fprintf(&b, "mode %s: %s\n", m.Mode, verdict)
		fmt.Fprintf(&b, "  covers: %s\n", m.Covers)
		if m.Detail != "" {
			fmt.Fprintf(&b, "  how: %s\n", printable(m.Detail))
		}
		if m.Reason != "" {
			fmt.Fprintf(&b, "  why: %s\n", printable(m.Reason))
		}
		for _, h := range m.Hints {
			fmt.Fprintf(&b, "  hint: %s\n", printable(h))
		}
		for _, n := range m.Notes {
			if m.Works { // of a mode that does not, nobody asks that
				fmt.Fprintf(&b, "  note: %s\n", printable(n))
			}
		}
	}
	if !chosen {
		b.WriteString("no mode works here: adit would not run any command\n")
	}
	for _, c := range r.Configs {
		if c.Error != "" {
			continue // goes to standard error, with its hints
		}
		fmt.Fprintf(&b, "configuration %s: can be used\n", printable(c.Source))
		for _, n := range c.Notes {
			fmt.Fprintf(&b, "  note: %s\n", printable(n))
		}
	}
	return b.String()
}
