package config

import (
	"fmt"
	"strconv"
	"strings"
)

// An Error is a reason why a configuration cannot be used. It prints as
//
//	wg0.conf:7: AllowedIPs: "10.0.0.0/33" is not a prefix: length is over 32
type Error struct {
	File string // or another name of the source, "--set"
	Line int    // 0: the whole file
	Key  string // "": not about a key
	Err  error
}

func (e *Error) Error() string { return locate(e.File, e.Line, e.Key, e.Err.Error()) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// In returns the note as one line about file, in the form of [Error].
func (n Note) In(file string) string { return locate(file, n.Line, n.Key, n.Text) }

func locate(file string, line int, key, text string) string {
	var b strings.Builder
	b.WriteString(file)
	if line > 0 {
		b.WriteString(":" + strconv.Itoa(line))
	}
	b.WriteString(": ")
	if key != "" {
		b.WriteString(key + ": ")
	}
	b.WriteString(text)
	return b.String()
}

const (
	// quoteLen is how much of a bad value is repeated in an error.
	quoteLen = 64
	// secretLen is a length in characters of base64 from which on a word may
	// be a key: 43 without its padding, less a few that were lost in copying.
	secretLen = 36
)

// quote returns s in quotation marks for an error. A word that could be a key
// is not repeated, whichever option it was given to: keys get pasted into the
// wrong line.
func quote(s string) string {
	if hasSecret(s) {
		return "(hidden)"
	}
	if len(s) > quoteLen {
		return fmt.Sprintf("%q…", s[:quoteLen])
	}
	return strconv.Quote(s)
}

// hasSecret reports whether s has a run of base64 as long as a key's.
func hasSecret(s string) bool {
	n := 0
	for i := range len(s) {
		if isBase64(s[i]) {
			if n++; n >= secretLen {
				return true
			}
		} else {
			n = 0
		}
	}
	return false
}

func isBase64(c byte) bool {
	return isAlnum(c) || c == '+' || c == '/'
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isWord reports whether s looks like the name of a key: short, letters and
// digits. Anything else that stands before an equals sign is not repeated.
func isWord(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '_' && s[i] != '-' {
			return false
		}
	}
	return true
}
