package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"adit/launcher"

	"github.com/urfave/cli/v2"
)

func doctorFlags() []cli.Flag { return append(configFlags(), jsonFlag()) }

// A doctorReport is what adit doctor --json prints.
type doctorReport struct {
	Modes  []modeReport `json:"modes"` // strongest first
	Config *configNotes `json:"config,omitempty"`
}

type modeReport struct {
	Mode   string   `json:"mode"`
	Covers string   `json:"covers"`
	Works  bool     `json:"works"`
	Detail string   `json:"detail,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Hints  []string `json:"hints,omitempty"`
}

type configNotes struct {
	Source string   `json:"source"`
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
	if c.IsSet("config") || c.IsSet("config-fd") {
		cfg, err := a.load(c)
		if err != nil {
			return err
		}
		r.Config = &configNotes{Source: cfg.Source}
		for _, n := range cfg.Notes {
			r.Config.Notes = append(r.Config.Notes, n.In(cfg.Source))
		}
	}
	works := false
	for _, m := range a.probe(a.ctx) {
		works = works || m.Works
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
	return nil
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
			fmt.Fprintf(&b, "  why: %s\n", printable(strings.TrimPrefix(m.Reason, "mode "+m.Mode+": ")))
		}
		for _, h := range m.Hints {
			fmt.Fprintf(&b, "  hint: %s\n", printable(h))
		}
	}
	if !chosen {
		b.WriteString("no mode works here: adit would not run any command\n")
	}
	if r.Config != nil {
		fmt.Fprintf(&b, "configuration %s: can be used\n", printable(r.Config.Source))
		for _, n := range r.Config.Notes {
			fmt.Fprintf(&b, "  note: %s\n", printable(n))
		}
	}
	return b.String()
}
