package main

import "fmt"

// A gate is one of the targets: what must and what should come of a trial.
type gate struct {
	side   string
	figure string
	// against is the side by whose figure, of the same round, this side's is
	// divided; with added it is subtracted. Empty: the figure itself counts.
	against string
	added   bool
	atLeast bool    // the targets are lower bounds; else upper bounds
	must    float64 // if NaN, there is only an aim
	aim     float64 // if NaN, there is none
}

// The answers to a gate.
const (
	met         = "met"
	withinNoise = "within the spread" // the median misses, some round does not
	notMet      = "NOT MET"           // what must be
	notReached  = "not met"           // what should
	notMeasured = "not measured"
	nothing     = "–" // there is no such target
)

// A verdict is what came of a gate.
type verdict struct {
	Gate   string   `json:"gate"`
	Value  spread   `json:"value"`
	Must   *float64 `json:"must,omitempty"`
	Aim    *float64 `json:"aim,omitempty"`
	Bound  string   `json:"bound"` // ≤ or ≥
	IsMet  string   `json:"must_is"`
	IsAim  string   `json:"aim_is"`
	Figure string   `json:"figure"`
}

// failed reports whether the run has to fail.
func (v verdict) failed() bool { return v.IsMet == notMet }

// judge compares the values, one for each round, with the targets.
func (g gate) judge(values []float64) verdict {
	v := verdict{Gate: g.String(), Value: spreadOf(values), Bound: "≤", Figure: g.figure}
	if g.atLeast {
		v.Bound = "≥"
	}
	v.Must, v.IsMet = g.answer(v.Value, g.must)
	if v.Aim, v.IsAim = g.answer(v.Value, g.aim); v.IsAim == notMet {
		v.IsAim = notReached
	}
	return v
}

func (g gate) answer(s spread, target float64) (*float64, string) {
	if target != target { // NaN
		return nil, nothing
	}
	best, reached := s.Min, s.Median <= target
	if g.atLeast {
		best, reached = s.Max, s.Median >= target
	}
	switch {
	case s.N == 0:
		return &target, notMeasured
	case reached:
		return &target, met
	case !g.atLeast && best <= target, g.atLeast && best >= target:
		return &target, withinNoise
	default:
		return &target, notMet
	}
}

func (g gate) String() string {
	what := figureOf(g.figure).title
	switch {
	case g.against == "":
		return fmt.Sprintf("%s of %s", what, g.side)
	case g.added:
		return fmt.Sprintf("%s, %s less %s", what, g.side, g.against)
	default:
		return fmt.Sprintf("%s, %s ÷ %s", what, g.side, g.against)
	}
}
