package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// skip skips what this machine has no means for.
func skip(t *testing.T, missing string) {
	t.Helper()
	if strings.Contains(os.Getenv("ADIT_REQUIRE"), "namespace") {
		t.Fatal("missing: " + missing)
	}
	t.Skip("missing: " + missing)
}

// The rig's own parts find each other: it starts, measures a little of each
// kind, and writes what it has found. How much that is does not matter.
func TestRigMeasures(t *testing.T) {
	dir := t.TempDir()
	rig, file := filepath.Join(dir, "rig"), filepath.Join(dir, "report.json")
	build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", rig, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the rig: %v\n%s", err, out)
	}
	cmd := exec.Command(rig, "-case", "^(tcp-up|udp1400-down|ping-idle|transactions|delay30-loss1-down|socket-up)$",
		"-own-stream", "-rounds", "1", "-seconds", "0.3", "-contenders", "adit", "-json", file)
	out, err := cmd.CombinedOutput()
	for _, lack := range []string{"operation not permitted", "permission denied", "/dev/net/tun"} {
		if err != nil && strings.Contains(string(out), lack) {
			skip(t, "namespaces, or a TUN in them: "+string(out))
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 6 || r.Kernel == "" || r.Go == "" {
		t.Fatalf("got %d cases, want 6\n%s", len(r.Results), out)
	}
	for _, x := range r.Results {
		s := x.Samples[0]
		if s.Error != "" || !slices.ContainsFunc([]string{"gbps", "p50", "tps"}, func(f string) bool { return s.Figures[f] > 0 }) {
			t.Errorf("%s: got %v %s", x.Name, s.Figures, s.Error)
		}
	}
}

func TestMergedReportHasEachCaseOnce(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for i, r := range []report{
		{Commit: "first", Results: []result{{Name: "a", About: "old"}, {Name: "b"}}},
		{Commit: "second", Results: []result{{Name: "c"}, {Name: "a", About: "new"}}},
	} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(dir, string(rune('0'+i))))
		if err := os.WriteFile(files[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := merge(files)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range r.Results {
		names = append(names, x.Name+x.About)
	}
	if !slices.Equal(names, []string{"anew", "b", "c"}) || r.Commit != "first" {
		t.Errorf("got %v of %s", names, r.Commit)
	}
}
