package config

import (
	"iter"
	"strings"
)

// Closest returns the one of names that word was most likely meant to be, "" if
// none is close: a letter too many, too few, another, or two exchanged, and two
// of these in words from six letters on. The case of letters does not count.
func Closest(word string, names iter.Seq[string]) string {
	best, limit := "", 1
	if len(word) >= 6 {
		limit = 2
	}
	if len(word) < 2 || len(word) > 32 {
		return ""
	}
	limit++
	for name := range names {
		d := distance(strings.ToLower(word), strings.ToLower(name))
		if d < limit || d == limit && best != "" && name < best {
			best, limit = name, d
		}
	}
	return best
}

// distance is how many edits of one letter lead from a to b; two neighbours
// that changed places are one edit (the "optimal string alignment" distance).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
