package hostile

import (
	"cmp"
	"slices"
)

// A Verdict is what became of an attempt.
type Verdict string

const (
	Held      Verdict = "held"      // as it should be
	Leaked    Verdict = "leaked"    // something got out that should not
	OpenDoor  Verdict = "open"      // out, on purpose
	Absent    Verdict = "not there" // this machine has no such way
	Otherwise Verdict = "otherwise" // nothing got out, and yet it is not as expected
	Untried   Verdict = "untried"   // it could not be made
)

// A Row is one attempt and what became of it.
type Row struct {
	Attempt  *Attempt
	Result   Result
	Through  bool     // some of it went through the tunnel
	Seen     []string // where it was seen outside
	Expected Expect
	Verdict  Verdict
}

// Counts reports whether s is one that matters in a mode. Without a namespace the
// command's connections begin on lo, from where adit passes them on: what goes
// elsewhere on lo is heard by the listeners there.
func (s Sighting) Counts(mode string) bool {
	return s.Where != onLoopback || mode != Seccomp && mode != Preload
}

// Judge makes the table of the attempts that were to be made in a mode. seen is
// what the watch outside has seen, through what went into the tunnel: the same
// packet outside comes from the tunnel's other end.
func Judge(mode string, list []*Attempt, results []Result, seen []Sighting, through map[Mark]bool) []Row {
	rows := make([]Row, len(list))
	for i, a := range list {
		r := Row{Attempt: a, Expected: a.Expect[mode], Result: Result{State: StateBroken, Text: "it said nothing"}}
		if j := slices.IndexFunc(results, func(r Result) bool { return r.Name == a.Name }); j >= 0 {
			r.Result = results[j]
		}
		for m := range through {
			r.Through = r.Through || m.ID == a.id
		}
		for _, s := range seen {
			if s.ID == a.id && s.Counts(mode) && !through[s.Mark] && !slices.Contains(r.Seen, s.Where) {
				r.Seen = append(r.Seen, s.Where)
			}
		}
		if r.Result.State == StateAbsent && r.Expected.Kind == Refused && slices.Contains(r.Expected.Errnos, r.Result.Errno) {
			r.Result.State = StateRefused
		}
		r.Verdict = r.judge()
		rows[i] = r
	}
	return rows
}

func (r *Row) judge() Verdict {
	out := len(r.Seen) > 0 || r.Result.State == StateGot
	switch {
	case out && r.Expected.Kind == Open:
		return OpenDoor
	case out:
		return Leaked
	case r.Result.State == StateAbsent:
		return Absent
	case r.Expected.Kind == Open:
		return Held // better than was promised
	case r.died() && (r.Through || r.Result.State == StateBegun && r.Expected.Kind == Refused):
		return Held // it began, and did not live to say more
	case r.Result.State == StateBroken || r.Result.State == StateBegun:
		return Untried
	case r.Expected.meets(r.Result):
		return Held
	}
	return Otherwise
}

// died reports whether the attempt has ended adit, and was not heard of again.
func (r *Row) died() bool {
	return r.Attempt.Alone && (r.Result.State == StateBroken || r.Result.State == StateBegun)
}

// Count returns how many rows have the verdict.
func Count(rows []Row, v Verdict) (n int) {
	for _, r := range rows {
		if r.Verdict == v {
			n++
		}
	}
	return n
}

// Happened says in a few words what became of the attempt.
func (r *Row) Happened() string {
	switch {
	case len(r.Seen) > 0:
		return "seen: " + cmp.Or(r.Seen[0], "outside")
	case r.Through && r.died():
		return "by the tunnel, then no more"
	case r.Result.State == StateBegun:
		return "began, then no more"
	case r.Through && (r.Result.State == StateSent || r.Result.State == StateRefused):
		return "by the tunnel"
	}
	return r.Result.String()
}
