package main

import (
	"regexp"
	"slices"
	"strings"
)

// A trial is one case of the rig: what is measured, for whom, and what must
// come of it. A round measures every side once, one after the other.
type trial struct {
	name  string
	about string   // one line for -list and for the report
	sides []string // whom: contenders, or variants of one
	// against is the side that the others are divided by, in the same round.
	// Empty: nobody.
	against string
	rounds  int // if not zero, the most rounds that make sense
	measure func(w *world, side string) (figures, error)
	gates   []gate
}

// The contenders of most trials.
const (
	adit        = "adit"
	wireguardGo = "wireguard-go"
	tailscale   = "tailscale"
)

var contenders = []string{adit, wireguardGo, tailscale}

// trials are all there are, in the order of the report. A family of trials is
// a function in a file of its own.
func trials() []trial {
	return slices.Concat(
		streamTrials(),
		udpTrials(),
		transactionTrials(),
		pingTrials(),
		roadTrials(),
		endsTrials(),
		growthTrials(),
		countTrials(),
		connectTrials(),
		moveTrials(),
		idleTrials(),
		socketTrials(),
		seccompTrials(),
	)
}

// choose returns the trials whose names match, with only the sides named: the
// contenders of that name and their variants ("adit 8 flows"). Empty is all.
func choose(all []trial, names *regexp.Regexp, sides []string) []trial {
	var chosen []trial
	for _, t := range all {
		if !names.MatchString(t.name) {
			continue
		}
		if len(sides) > 0 {
			t.sides = slices.DeleteFunc(slices.Clone(t.sides), func(s string) bool {
				return !slices.Contains(sides, s) && !slices.Contains(sides, strings.Fields(s)[0])
			})
		}
		if len(t.sides) > 0 {
			chosen = append(chosen, t)
		}
	}
	return chosen
}
