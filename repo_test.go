// Package adit holds no code of its own: only the tests of the repository's
// shape, which stand where they can see all of it.
package adit

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imports says what each folder may import beside the standard library. What
// is not here may import nothing else. See docs/architecture.md.
var imports = map[string][]string{
	"packet":       {"golang.org/x/sys/cpu"},
	"wg":           {"adit/packet", "golang.org/x/crypto", "golang.org/x/sys/unix", "adit/wg/aead"},
	"wg/aead":      {"golang.org/x/crypto", "golang.org/x/sys/cpu"},
	"wg/wgtest":    {"adit/packet"},
	"link":         {"adit/packet", "golang.org/x/sys/unix", "github.com/vishvananda/netlink"},
	"netstack":     {"adit/packet", "adit/netstack", "gvisor.dev/gvisor", "golang.org/x/net/dns/dnsmessage"},
	"config":       {"adit/wg"},
	"preload":      {"adit/broker", "adit/netstack", "golang.org/x/net/dns/dnsmessage", "golang.org/x/sys/unix"},
	"broker":       {"adit/netstack", "golang.org/x/sys/unix"},
	"device":       {"adit/packet", "adit/wg", "adit/link", "golang.org/x/sys/unix", "github.com/vishvananda/netlink"},
	"hostile":      {"golang.org/x/sys/unix", "github.com/vishvananda/netlink"},
	"gateway":      {"adit/packet", "adit/wg", "adit/netstack", "adit/link", "golang.org/x/net"},
	"launcher":     {"adit/packet", "adit/wg", "adit/netstack", "adit/link", "adit/config", "adit/broker", "adit/preload", "golang.org/x/sys/unix", "github.com/vishvananda/netlink"},
	"cmd/adit":     {"adit/config", "adit/device", "adit/gateway", "adit/hostile", "adit/launcher", "adit/wg", "github.com/urfave/cli/v2", "golang.org/x/term"},
	"internal":     {},
	"examples":     {"adit"},
	"e2e":          {"adit", "golang.org/x", "golang.zx2c4.com/wireguard", "github.com/tailscale/wireguard-go", "github.com/vishvananda/netlink"},
	"e2e/services": {"golang.org/x"},
}

// onlyIn narrows an import down to single files or folders.
var onlyIn = map[string][]string{
	"golang.org/x/sys/cpu":  {"wg/aead/", "packet/checksum_amd64.go"},
	"golang.org/x/sys/unix": {"link/", "launcher/", "broker/", "preload/", "device/", "hostile/", "e2e/", "wg/clock_linux.go"},
	"gvisor.dev/gvisor":     {"netstack/"},
	"golang.org/x/crypto":   {"wg/", "e2e/services/", "e2e/flood/"},
	"os/exec":               {"launcher/", "device/", "hostile/", "e2e/", "cmd/adit/setup.go"},
}

// A source is one Go file of the repository.
type source struct {
	path string // from the root, with slashes
	file *ast.File
}

func (s *source) dir() string  { return path.Dir(s.path) }
func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s *source) imports() (list []string) {
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		list = append(list, p)
	}
	return list
}

// sources parses every Go file.
func sources(t *testing.T) (list []*source) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go"):
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		list = append(list, &source{filepath.ToSlash(p), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// within reports whether the import path p is prefix or below it.
func within(p, prefix string) bool {
	return p == prefix || strings.HasPrefix(p, prefix+"/")
}

// rule returns the entry of imports for dir: its own or that of a folder above.
func rule(dir string) ([]string, bool) {
	for ; dir != "."; dir = path.Dir(dir) {
		if allowed, ok := imports[dir]; ok {
			return allowed, true
		}
	}
	return nil, false
}

func TestDependenciesPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		allowed, known := rule(s.dir())
		if !known {
			t.Errorf("%s: folder %s is not in the table of imports", s.path, s.dir())
			continue
		}
		for _, p := range s.imports() {
			isStd := !strings.Contains(strings.Split(p, "/")[0], ".") && !within(p, "adit")
			if !isStd && !slices.ContainsFunc(allowed, func(a string) bool { return within(p, a) }) {
				t.Errorf("%s imports %s, which folder %s may not", s.path, p, s.dir())
			}
		}
	}
}

// The three that design keeps apart do not even meet in tests of their own
// package: a seam that needs both sides to be tested is none.
func TestSeamsHoldInTests(t *testing.T) {
	apart := []string{"adit/wg", "adit/netstack", "adit/link"}
	for _, s := range sources(t) {
		self := "adit/" + s.dir()
		if !slices.Contains(apart, self) || s.file.Name.Name != path.Base(s.dir()) {
			continue
		}
		for _, p := range s.imports() {
			if p != self && slices.Contains(apart, p) {
				t.Errorf("%s imports %s", s.path, p)
			}
		}
	}
}

func TestOnlyFewFilesImportWhatIsDangerous(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, p := range s.imports() {
			for _, narrow := range slices.Sorted(maps.Keys(onlyIn)) {
				where := onlyIn[narrow]
				if within(p, narrow) && !slices.ContainsFunc(where, func(w string) bool { return strings.HasPrefix(s.path, w) }) {
					t.Errorf("%s imports %s, which only %v may", s.path, p, where)
				}
			}
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	comments, packages := make(map[string][]string), make(map[string]bool)
	for _, s := range sources(t) {
		if s.isTest() && s.dir() != "." {
			continue
		}
		packages[s.dir()] = true
		if s.file.Doc != nil && len(s.file.Doc.List) > 0 && strings.TrimSpace(s.file.Doc.Text()) != "" {
			comments[s.dir()] = append(comments[s.dir()], s.path)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if n := len(comments[dir]); n != 1 {
			t.Errorf("%s: got %d package comments (%v), want 1", dir, n, comments[dir])
		}
	}
}

// The core of wg is told the time and given randomness: it reads no clock,
// makes no goroutine and has no channel. Its files are those that doc.go lists.
func TestCoreOfTheEngineIsPure(t *testing.T) {
	core, shell := filesOfTheEngine(t)
	for _, s := range sources(t) {
		if s.dir() != "wg" || s.isTest() {
			continue
		}
		name := path.Base(s.path)
		switch {
		case slices.Contains(core, name):
			impure(t, s)
		case !slices.Contains(shell, name) && !slices.Contains([]string{"doc.go", "key.go", "transport.go"}, name) &&
			!strings.HasPrefix(name, "clock_"):
			t.Errorf("%s is not in the map of wg/doc.go", s.path)
		}
	}
}

// A map that has holes is no map: where doc.go lists files, it lists all.
func TestMapsOfFoldersAreComplete(t *testing.T) {
	lists := make(map[string][]string) // folder → names and patterns
	docs, err := filepath.Glob("*/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, _ := filepath.Glob("*/*/doc.go")
	for _, doc := range append(docs, deeper...) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \t\n,;:", r) }) {
			if strings.HasSuffix(word, ".go") {
				dir := path.Dir(filepath.ToSlash(doc))
				lists[dir] = append(lists[dir], word)
			}
		}
	}
	if len(lists) < 5 {
		t.Fatalf("only %d folders have a map", len(lists))
	}
	for _, s := range sources(t) {
		listed, name := lists[s.dir()], path.Base(s.path)
		if len(listed) == 0 || s.isTest() || name == "doc.go" {
			continue
		}
		plain := strings.NewReplacer("_linux.go", ".go", "_other.go", ".go").Replace(name)
		if !slices.ContainsFunc(listed, func(p string) bool {
			whole, _ := path.Match(p, name)
			other, _ := path.Match(p, plain)
			return whole || other
		}) {
			t.Errorf("%s is not in the map of %s/doc.go", s.path, s.dir())
		}
	}
}

// filesOfTheEngine reads the two lists of wg/doc.go.
func filesOfTheEngine(t *testing.T) (core, shell []string) {
	t.Helper()
	f, err := os.Open("wg/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	into := new([]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(strings.TrimPrefix(lines.Text(), "//"))
		switch {
		case strings.HasPrefix(lines.Text(), "// The core:"):
			into = &core
		case strings.HasPrefix(lines.Text(), "// The shell:"):
			into = &shell
		case strings.HasPrefix(lines.Text(), "//\t") && len(words) > 0 && strings.HasSuffix(words[0], ".go"):
			*into = append(*into, words[0])
		}
	}
	if len(core) == 0 || len(shell) == 0 {
		t.Fatal("wg/doc.go does not list the core and the shell")
	}
	return core, shell
}

// impure reports what s does that a pure file must not do.
func impure(t *testing.T, s *source) {
	t.Helper()
	forbidden := words("time.Now time.Since time.Until time.Sleep time.After time.AfterFunc time.NewTimer time.NewTicker time.Tick rand.Read rand.Int os.Open net.Dial net.Listen")
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine", s.path)
		case *ast.ChanType:
			t.Errorf("%s has a channel", s.path)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && forbidden[x.Name+"."+n.Sel.Name] {
				t.Errorf("%s uses %s.%s", s.path, x.Name, n.Sel.Name)
			}
		}
		return true
	})
}

// A test may look again and again, in a loop, for what nothing tells of. It may
// not sleep and hope.
func TestNoTestSleepsAndHopes(t *testing.T) {
	for _, s := range sources(t) {
		if !s.isTest() || slices.Contains(s.imports(), "testing/synctest") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if _, ok := n.(*ast.ForStmt); ok {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s sleeps: wait for what can be observed, or use testing/synctest", s.path)
				}
			}
			return true
		})
	}
}

func words(s string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}
