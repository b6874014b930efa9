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
	Modes   []modeReport  `json:"modes"`          // strongest first
	Used    string        `json:"used,omitempty"` // the mode that a run takes; "" if there is none
	Configs []configNotes `json:"configs,omitempty"`

	asked string // the one mode that the configuration wants; "" if any will do
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
// status 1 when no mode works, or not the one that the configuration wants.
func (a *adit) doctor(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	var r doctorReport
	var bad error // is told in the end: the modes are of use all the same
	if c.IsSet("config") || c.IsSet("config-fd") {
		r.Configs, r.asked, bad = a.lookAt(c)
	}
	for _, m := range a.probe(a.ctx) {
		if m.Works && r.Used == "" && (r.asked == "" || r.asked == m.Mode) {
			r.Used = m.Mode
		}
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
	if r.Used == "" {
		a.result = launcher.Result{Code: 1}
	}
	return bad
}

// lookAt reports on the configurations that c names, outermost first, and
// returns the mode that the command's asks for, "" for auto, and the first error of
// any.
func (a *adit) lookAt(c *cli.Context) (list []configNotes, mode string, bad error) {
	all, bad := a.outer(c)
	cfg, err := a.load(c)
	if err == nil {
		all = append(all, cfg)
		if mode = cfg.Options.Mode; mode == "auto" {
			mode = ""
		}
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
	return list, mode, bad
}

// text lays the report out for reading.
func (r *doctorReport) text() string {
	var b strings.Builder
	for _, m := range r.Modes {
		verdict := "no"
		switch {
		case m.Mode == r.Used:
			verdict = "works, is used"
		case m.Works:
			verdict = "works"
		case m.Mode == r.asked:
			verdict = "no, and the configuration asks for it"
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
	switch {
	case r.Used == "" && r.asked != "":
		fmt.Fprintf(&b, "mode %s does not work here: adit would not run any command with this configuration\n", r.asked)
	case r.Used == "":
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
