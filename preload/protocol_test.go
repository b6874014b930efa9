package preload

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// An entry is one message of testdata/wire.txt: its lines by key.
type entry map[string]string

func (e entry) hex(t *testing.T, key string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(e[key], " ", ""))
	if err != nil {
		t.Fatalf("%s: %s: %v", e["name"], key, err)
	}
	return b
}

func (e entry) number(t *testing.T, key string) (n int32) {
	t.Helper()
	if _, err := fmt.Sscan(e[key], &n); err != nil {
		t.Fatalf("%s: %s: %v", e["name"], key, err)
	}
	return n
}

func readWire(t *testing.T) (entries []entry) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("written for little-endian machines")
	}
	text, err := os.ReadFile("testdata/wire.txt")
	if err != nil {
		t.Fatal(err)
	}
	e := entry{}
	for line := range strings.Lines(string(text)) {
		key, value, found := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case strings.HasPrefix(line, "#"):
		case found:
			e[key] = strings.TrimSpace(value)
		case len(e) > 0:
			entries, e = append(entries, e), entry{}
		}
	}
	return append(entries, e)
}

func TestWireIsAsWritten(t *testing.T) {
	for _, e := range readWire(t) {
		var got []byte
		want, data := e.hex(t, "bytes"), e.hex(t, "data")
		switch e["message"] {
		case "question":
			q := question{op: operation(e.number(t, "operation")), data: data}
			fmt.Sscan(e["argument"], &q.arg[0], &q.arg[1], &q.arg[2], &q.arg[3])
			got = q.append(nil)
			if back, err := parseQuestion(want); err != nil || !reflect.DeepEqual(back, q) {
				t.Errorf("%s: read %+v (%v), want %+v", e["name"], back, err, q)
			}
		case "answer":
			a := answer{err: e.number(t, "error"), value: e.number(t, "value"), data: data}
			got = a.append(nil)
			if back, err := parseAnswer(want); err != nil || !reflect.DeepEqual(back, a) {
				t.Errorf("%s: read %+v (%v), want %+v", e["name"], back, err, a)
			}
		case "address":
			got = address{e.number(t, "family"), e.number(t, "type"), e.number(t, "protocol"), data}.append(nil)
		default:
			t.Errorf("%s: what is a message %q?", e["name"], e["message"])
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got % x, want % x", e["name"], got, want)
		}
	}
}

// buildC makes a C program out of testdata for this machine.
func buildC(t *testing.T, name string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	out := filepath.Join(t.TempDir(), name)
	args := append(flags, "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-o", out, "testdata/"+name+".c")
	if text, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// wantTAP runs a program that tells of its tests line by line.
func wantTAP(t *testing.T, path string, args ...string) {
	t.Helper()
	text, err := exec.Command(path, args...).CombinedOutput()
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "1..") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if err != nil || !strings.Contains(string(text), "\n1..") {
		t.Errorf("%s: %v", filepath.Base(path), err)
	}
}

func TestWireInC(t *testing.T) {
	readWire(t)
	wantTAP(t, buildC(t, "wire_test"), "testdata/wire.txt")
}

// The sanitizers see each byte that is read or written beside its object.
func TestAnswersInC(t *testing.T) {
	sanitize := []string{"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-builtin", "-Ishim"}
	empty := filepath.Join(t.TempDir(), "empty.c")
	if err := os.WriteFile(empty, []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("cc", sanitize[0], "-o", empty+".out", empty).CombinedOutput(); err != nil {
		t.Skipf("the compiler has no sanitizers: %v: %s", err, text)
	}
	wantTAP(t, buildC(t, "pure_test", sanitize...))
}

func FuzzParseQuestion(f *testing.F) {
	f.Add(question{op: opConnect, data: []byte{2, 0, 1, 187, 10, 9, 0, 1}}.append(nil))
	f.Add(question{op: opAddrInfo, data: appendOptionalText(appendOptionalText(nil, new(string)), nil)}.append(nil))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseQuestion(b)
		if err != nil {
			return
		}
		if again := q.append(nil); !bytes.Equal(again, b) {
			t.Errorf("% x was read as % x", b, again)
		}
		node, rest, err := cutOptionalText(q.data)
		if err != nil {
			return
		}
		if again := append(appendOptionalText(nil, node), rest...); !bytes.Equal(again, q.data) {
			t.Errorf("text % x was read as % x", q.data, again)
		}
	})
}
