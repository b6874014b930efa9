package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"adit/launcher"

	"golang.org/x/term"
)

// The words of adit's, all of them on standard error:
//
//	adit: error: one sentence, lower case, no full stop
//	adit: hint: something that can be typed
//	adit: warning: something is not as it seems
//
// Standard output has only what was asked for: a key, a version, a report. A
// wait that takes long is told by one line on a terminal, which is erased.
// There is no colour, so NO_COLOR has nothing to turn off.
//
// ui is safe for concurrent use.
type ui struct {
	out      io.Writer
	err      io.Writer
	terminal bool // err is one that can erase a line

	mu    sync.Mutex // guards what follows and serialises writing
	quiet bool       // no warnings
	shown bool       // a status line is on the screen
	timer *time.Timer
}

// statusAfter is how long a wait may last before the user is told.
const statusAfter = 300 * time.Millisecond

func newUI(out, err *os.File, getenv func(string) string) *ui {
	return &ui{
		out: out, err: err,
		terminal: getenv("TERM") != "dumb" && term.IsTerminal(int(err.Fd())),
	}
}

// fail tells err with its hints and returns the exit status that it means.
func (u *ui) fail(err error) int {
	f := asFailure(err)
	u.line("error", f.err.Error())
	for _, h := range f.hints {
		u.line("hint", h)
	}
	return f.code
}

func (u *ui) warn(text string) {
	if !u.quiet {
		u.line("warning", text)
	}
}

// note tells something in a report that was asked for.
func (u *ui) note(text string) { u.line("note", text) }

// line writes one line. A text from elsewhere may hold line ends or escape
// sequences, a file's name for one: they are made harmless.
func (u *ui) line(kind, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	fmt.Fprintf(u.err, "adit: %s: %s\n", kind, printable(text))
}

// notice shows what the launcher tells.
func (u *ui) notice(n launcher.Notice) {
	switch n.Kind {
	case launcher.Warning:
		u.warn(n.Text)
	case launcher.Waiting:
		u.status(n.Text)
	case launcher.WaitOver:
		u.mu.Lock()
		defer u.mu.Unlock()
		u.erase()
	}
}

// status shows text on a line of its own after a while, until the next word or
// the end of the wait.
func (u *ui) status(text string) {
	if !u.terminal || u.quiet {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	var t *time.Timer
	t = time.AfterFunc(statusAfter, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.timer == t {
			u.shown = true
			fmt.Fprintf(u.err, "adit: %s", printable(text))
		}
	})
	u.timer = t
}

// erase removes the status line, or keeps it from appearing. u.mu must be held.
func (u *ui) erase() {
	if u.timer != nil {
		u.timer.Stop()
		u.timer = nil
	}
	if u.shown {
		u.shown = false
		io.WriteString(u.err, "\r\x1b[K")
	}
}

// print writes a report to standard output.
func (u *ui) print(text string) error {
	_, err := io.WriteString(u.out, text)
	return err
}

// repeat writes what another process of adit's has said on its standard error.
func (u *ui) repeat(text string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	_, err := io.WriteString(u.err, text)
	return err
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// shellWords returns argv as it can be typed, quoted where a shell would see
// more than a word. It is "" if that is not certain, as with what a terminal
// does not show: a command that a user pastes must do what it seems to do.
func shellWords(argv []string) string {
	typed := make([]string, len(argv))
	for i, a := range argv {
		switch {
		case !utf8.ValidString(a) || strings.ContainsFunc(a, func(r rune) bool { return !unicode.IsPrint(r) }):
			return ""
		case a == "" || strings.Trim(a, safeChars) != "":
			typed[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		default:
			typed[i] = a
		}
	}
	return strings.Join(typed, " ")
}

const safeChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+"
