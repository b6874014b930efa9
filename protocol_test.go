package adit

import (
	"bufio"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const protocolMap = "docs/protocol.md"

// A mapped is one row of the map of the protocol.
type mapped struct {
	line        int
	rule        string
	code, tests []string // path/file.go:name, folder:Test
}

// readProtocolMap reads every table of the map, whose last two columns are code
// and test.
func readProtocolMap(t *testing.T) (rows []mapped) {
	t.Helper()
	f, err := os.Open(protocolMap)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	quoted := regexp.MustCompile("`([^`]+)`")
	names := func(cell string) (list []string) {
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			list = append(list, m[1])
		}
		return list
	}
	columns, n := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		n++
		text, isRow := strings.CutPrefix(lines.Text(), "|")
		cells := strings.Split(strings.TrimSuffix(text, "|"), "|")
		switch {
		case !isRow:
			columns = 0
		case columns == 0: // the heading
			columns = len(cells)
			if strings.TrimSpace(cells[columns-2]) != "code" || strings.TrimSpace(cells[columns-1]) != "test" {
				t.Fatalf("%s:%d: a table without code and test", protocolMap, n)
			}
		case strings.Trim(text, "-|") == "":
		case len(cells) != columns:
			t.Errorf("%s:%d: %d cells, want %d", protocolMap, n, len(cells), columns)
		default:
			rows = append(rows, mapped{n, strings.TrimSpace(cells[0]), names(cells[columns-2]), names(cells[columns-1])})
		}
	}
	return rows
}

// declared returns what a file declares outside of functions.
func declared(f *ast.File) (names []string) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					for _, id := range s.Names {
						names = append(names, id.Name)
					}
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				}
			}
		}
	}
	return names
}

// Every rule of the protocol has code and a test, and both are there.
func TestTheMapOfTheProtocolIsTrue(t *testing.T) {
	code, tests := make(map[string]bool), make(map[string]bool)
	for _, s := range sources(t) {
		for _, name := range declared(s.file) {
			if !s.isTest() {
				code[s.path+":"+name] = true
			} else if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") {
				tests[s.dir()+":"+name] = true
			}
		}
	}
	rows := readProtocolMap(t)
	if len(rows) < 80 {
		t.Fatalf("%s has %d rows: it was not understood", protocolMap, len(rows))
	}
	for _, r := range rows {
		if r.rule == "" || len(r.code) == 0 || len(r.tests) == 0 {
			t.Errorf("%s:%d: %q has %d places in the code and %d tests, want at least one of each", protocolMap, r.line, r.rule, len(r.code), len(r.tests))
		}
		for _, c := range r.code {
			if !code[c] {
				t.Errorf("%s:%d: there is no %s", protocolMap, r.line, c)
			}
		}
		for _, c := range r.tests {
			if !tests[c] {
				t.Errorf("%s:%d: there is no test %s", protocolMap, r.line, c)
			}
		}
	}
}

// A file of the core that keeps no rule is in the wrong place, or its rule is
// not in the map.
func TestEveryFileOfTheCoreIsInTheMapOfTheProtocol(t *testing.T) {
	core, _ := filesOfTheEngine(t)
	var seen []string
	for _, r := range readProtocolMap(t) {
		for _, c := range r.code {
			file, _, _ := strings.Cut(c, ":")
			seen = append(seen, path.Base(file))
		}
	}
	for _, file := range core {
		if !slices.Contains(seen, file) {
			t.Errorf("wg/%s keeps no rule of %s", file, protocolMap)
		}
	}
}
