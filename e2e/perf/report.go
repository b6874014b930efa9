package main

import (
	"math"
	"slices"
)

// figures are what one measurement found, by the names of [allFigures]. What
// could not be found is not there.
type figures map[string]float64

// A sample is one measurement.
type sample struct {
	Round   int     `json:"round"`
	Side    string  `json:"side"`
	Figures figures `json:"figures,omitempty"`
	Error   string  `json:"error,omitempty"`
	Skipped string  `json:"skipped,omitempty"` // why it cannot be measured here
}

// A spread is the median of the rounds and how far they lie apart.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// spreadOf returns the spread of the values; N is 0 if there are none.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{Median: m, Min: v[0], Max: v[len(v)-1], N: len(v)}
}

// A summary is what the rounds of one side come to.
type summary struct {
	Side    string            `json:"side"`
	Figures map[string]spread `json:"figures"`
	// Ratios are to the side that the trial compares with, of the same round.
	Ratios map[string]spread `json:"ratios,omitempty"`
	Failed int               `json:"failed,omitempty"` // measurements
}

// A result is a trial's whole outcome.
type result struct {
	Name      string    `json:"name"`
	About     string    `json:"about"`
	Against   string    `json:"against,omitempty"`
	Samples   []sample  `json:"samples"`
	Summaries []summary `json:"summaries"`
	Verdicts  []verdict `json:"gates,omitempty"`
}

// conclude makes summaries and verdicts of the samples.
func (r *result) conclude(sides []string, gates []gate) {
	r.Summaries, r.Verdicts = nil, nil
	for _, side := range sides {
		r.Summaries = append(r.Summaries, r.summarize(side))
	}
	for _, g := range gates {
		if slices.Contains(sides, g.side) {
			r.Verdicts = append(r.Verdicts, g.judge(r.values(g)))
		}
	}
}

func (r *result) summarize(side string) summary {
	s := summary{Side: side, Figures: map[string]spread{}}
	for _, x := range r.Samples {
		if x.Side == side && x.Error != "" {
			s.Failed++
		}
	}
	for _, f := range allFigures {
		if v := spreadOf(r.of(side, f.name)); v.N > 0 {
			s.Figures[f.name] = v
		}
		if r.Against == "" || r.Against == side || !f.compared {
			continue
		}
		if v := spreadOf(r.compared(side, r.Against, f.name, ratio)); v.N > 0 {
			if s.Ratios == nil {
				s.Ratios = map[string]spread{}
			}
			s.Ratios[f.name] = v
		}
	}
	return s
}

// of returns a figure of a side in all rounds that have it.
func (r *result) of(side, figure string) (values []float64) {
	for _, x := range r.Samples {
		if v, ok := x.Figures[figure]; ok && x.Side == side {
			values = append(values, v)
		}
	}
	return values
}

// compared returns a figure of one side compared with that of another in the
// same round, for all rounds that have both.
func (r *result) compared(side, against, figure string, by func(a, b float64) float64) (values []float64) {
	for _, a := range r.Samples {
		for _, b := range r.Samples {
			if a.Round != b.Round || a.Side != side || b.Side != against {
				continue
			}
			x, ok1 := a.Figures[figure]
			y, ok2 := b.Figures[figure]
			if v := by(x, y); ok1 && ok2 && !math.IsNaN(v) && !math.IsInf(v, 0) {
				values = append(values, v)
			}
		}
	}
	return values
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }

// values returns what the gate judges, one for each round.
func (r *result) values(g gate) []float64 {
	switch {
	case g.against == "":
		return r.of(g.side, g.figure)
	case g.added:
		return r.compared(g.side, g.against, g.figure, difference)
	default:
		return r.compared(g.side, g.against, g.figure, ratio)
	}
}
