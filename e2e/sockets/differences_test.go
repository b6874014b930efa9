package sockets

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// An entry of testdata/differences.txt is a difference that is accepted, in
// some modes, for a reason:
//
//	MODE[,MODE…]  SCENARIO  WHAT IS CALLED
//		plain:  RESULT
//		inside: RESULT
//		why:    …
//		when:   … (only if it is not so everywhere)
//
// * stands for any characters in all but the mode. Beside the modes there is docker:
// seccomp mode under a filter like Docker's, to which what is of seccomp applies as well.
type entry struct {
	modes                                    []string
	scenario, what, plain, inside, why, when string
	line                                     int

	seen map[string]bool // modes in which it has been
}

func (e *entry) String() string { return fmt.Sprintf("line %d: %s: %s", e.line, e.scenario, e.what) }

// is reports whether a scenario, "group/name net", is one of the entry's.
func (e *entry) is(scenario string) bool { return like(e.scenario, scenario) }

// applies reports whether an entry is one of a mode, or of docker.
func (e *entry) applies(mode string) bool {
	return slices.Contains(e.modes, mode) || mode == "docker" && slices.Contains(e.modes, "seccomp")
}

// like reports whether text is what a pattern with * describes.
func like(pattern, text string) bool {
	// path.Match knows folders and brackets, which are ordinary here.
	plain := strings.NewReplacer("/", "\x00", `\`, `\\`, "[", `\[`, "?", `\?`)
	ok, err := path.Match(plain.Replace(pattern), strings.ReplaceAll(text, "/", "\x00"))
	return ok && err == nil
}

// A list is the entries of the file.
type list []*entry

// allow reports whether a difference is in the list for the mode, and remembers
// that it was seen.
func (l list) allow(mode string, d difference) bool {
	for _, e := range l {
		if e.applies(mode) && e.is(d.scenario) && like(e.what, strings.TrimSpace(d.what)) && like(e.plain, d.plain) && like(e.inside, d.inside) {
			e.seen[mode] = true
			return true
		}
	}
	return false
}

// unseen returns the entries for the mode that no difference has needed, and that
// should be everywhere.
func (l list) unseen(mode string) (left []*entry) {
	for _, e := range l {
		if e.applies(mode) && !e.seen[mode] && e.when == "" {
			left = append(left, e)
		}
	}
	return left
}

func readDifferences(t testing.TB, file string) list {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := parseDifferences(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return l
}

func parseDifferences(text string) (list, error) {
	var l list
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			if len(l) == 0 {
				return nil, fmt.Errorf("line %d belongs to nothing", n)
			}
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if err := l[len(l)-1].set(key, strings.TrimSpace(value)); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		default:
			f := strings.SplitN(line, "  ", 3)
			if len(f) != 3 {
				return nil, fmt.Errorf("line %d: want modes, scenario and call, with two spaces between", n)
			}
			l = append(l, &entry{modes: strings.Split(f[0], ","), scenario: strings.TrimSpace(f[1]), what: strings.TrimSpace(f[2]), line: n, seen: map[string]bool{}})
		}
	}
	for _, e := range l {
		if e.plain == "" || e.inside == "" || e.why == "" {
			return nil, fmt.Errorf("%v: want plain, inside and why", e)
		}
	}
	return l, nil
}

// set enters one of the lines below an entry's first. A line of why that goes
// on has no key.
func (e *entry) set(key, value string) error {
	switch key {
	case "plain":
		e.plain = value
	case "inside":
		e.inside = value
	case "why":
		e.why = value
	case "when":
		e.when = value
	default:
		if e.why == "" {
			return fmt.Errorf("no such key: %q", key)
		}
		e.why += " " + strings.TrimSpace(key+" "+value)
	}
	return nil
}

func TestDifferencesAreMatchedByPattern(t *testing.T) {
	l, err := parseDifferences("seccomp,preload  udp/a *  getsockopt(X)*\n\tplain:  0\n\tinside: *\n\twhy:    because\n\t        it is so\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode string
		d    difference
		want bool
	}{
		{"seccomp", difference{"udp/a v4", "getsockopt(X) afterwards", "0", "-1 EPERM"}, true},
		{"docker", difference{"udp/a v4", "getsockopt(X)", "0", "1"}, true},
		{"namespace", difference{"udp/a v4", "getsockopt(X)", "0", "1"}, false},
		{"seccomp", difference{"udp/ab v4", "getsockopt(X)", "0", "1"}, false},
		{"seccomp", difference{"udp/a v4", "getsockopt(Y)", "0", "1"}, false},
		{"seccomp", difference{"udp/a v4", "getsockopt(X)", "1", "1"}, false},
	} {
		if got := l.allow(c.mode, c.d); got != c.want {
			t.Errorf("%s, %v: got %v, want %v", c.mode, c.d, got, c.want)
		}
	}
	if left := l.unseen("preload"); len(left) != 1 {
		t.Errorf("got %d entries that preload mode has not needed, want 1", len(left))
	}
	if left := l.unseen("seccomp"); len(left) != 0 {
		t.Errorf("got %v unseen, want nothing", left)
	}
}

func TestDifferencesAreComplete(t *testing.T) {
	for _, text := range []string{
		"seccomp  a/b v4\n\tplain: 1\n",
		"\tplain: 1\n",
		"seccomp  a/b v4  call\n\tplain: 1\n\tinside: 2\n",
		"seccomp  a/b v4  call\n\tplan: 1\n",
	} {
		if _, err := parseDifferences(text); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}
