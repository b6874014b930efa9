package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// writeResult writes a trial's outcome: a line for each side, and one for each
// gate. As Markdown it is a table, without the gates: those of all trials stand
// in one of their own.
func writeResult(w io.Writer, r result, markdown bool) {
	head := "%s: %s\n"
	if markdown {
		head = "### %s\n\n%s\n\n"
	}
	fmt.Fprintf(w, head, r.Name, r.About)
	rows := r.rows()
	if markdown {
		writeMarkdown(w, rows)
	} else {
		writeText(w, rows)
	}
	for _, words := range r.troubles() {
		fmt.Fprintf(w, "%s%s\n", indent(markdown), words)
	}
	if !markdown {
		for _, v := range r.Verdicts {
			fmt.Fprintf(w, "  gate %s\n", v)
		}
	}
	fmt.Fprintln(w)
}

// troubles says what has failed, and what could not be measured; the same for
// one side only once.
func (r result) troubles() (list []string) {
	for _, x := range r.Samples {
		var words string
		switch {
		case x.Error != "":
			words = fmt.Sprintf("round %d, %s: FAILED: %s", x.Round, x.Side, x.Error)
		case x.Skipped != "":
			words = fmt.Sprintf("%s: not measured: %s", x.Side, x.Skipped)
		default:
			continue
		}
		if !slices.Contains(list, words) {
			list = append(list, words)
		}
	}
	return list
}

func indent(markdown bool) string {
	if markdown {
		return "\n"
	}
	return "  "
}

// rows returns the table of a trial, its head first. A column is a figure that
// some side has, with the ratio behind it where there is one.
func (r result) rows() [][]string {
	table := make([][]string, len(r.Summaries)+1)
	table[0] = []string{"side"}
	for i, s := range r.Summaries {
		table[i+1] = []string{s.Side}
	}
	for _, f := range allFigures {
		var has, compared bool
		for _, s := range r.Summaries {
			has = has || s.Figures[f.name].N > 0
			compared = compared || s.Ratios[f.name].N > 0
		}
		if !has {
			continue
		}
		table[0] = append(table[0], f.title)
		if compared {
			table[0] = append(table[0], "ratio (min–max)")
		}
		for i, s := range r.Summaries {
			table[i+1] = append(table[i+1], s.Figures[f.name].text(f))
			if compared {
				table[i+1] = append(table[i+1], s.Ratios[f.name].ratioText())
			}
		}
	}
	return table
}

func (s spread) text(f figureKind) string {
	if s.N == 0 {
		return nothing
	}
	return f.format(s.Median)
}

func (s spread) ratioText() string {
	if s.N == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max)
}

func (v verdict) String() string {
	s := fmt.Sprintf("%s: %s", v.Gate, v.value())
	if v.Must != nil {
		s += fmt.Sprintf("; must %s %s: %s", v.Bound, trim(*v.Must), v.IsMet)
	}
	if v.Aim != nil {
		s += fmt.Sprintf("; aim %s %s: %s", v.Bound, trim(*v.Aim), v.IsAim)
	}
	return s
}

// value is what the gate saw, with more places than the ratio of two figures
// needs and fewer than a large number has.
func (v verdict) value() string {
	if v.Value.N == 0 {
		return nothing
	}
	d := 2
	if v.Value.Median >= 10 {
		d = 1
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", d, v.Value.Median, d, v.Value.Min, d, v.Value.Max)
}

func trim(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.2f", f), ".00") }

// gateRows is the table of gates, its head first.
func gateRows(verdicts []verdict) [][]string {
	table := [][]string{{"gate", "median (min–max)", "must", "", "aim", ""}}
	target := func(bound string, t *float64) string {
		if t == nil {
			return nothing
		}
		return bound + " " + trim(*t)
	}
	for _, v := range verdicts {
		table = append(table, []string{v.Gate, v.value(), target(v.Bound, v.Must), v.IsMet, target(v.Bound, v.Aim), v.IsAim})
	}
	return table
}

// writeText writes rows with columns under each other.
func writeText(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			b.WriteString("  " + cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func writeMarkdown(w io.Writer, rows [][]string) {
	for i, r := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(r)))
		}
	}
}
