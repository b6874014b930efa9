package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is everything that a run has found, and where.
type report struct {
	Date    string   `json:"date"` // RFC 3339
	Commit  string   `json:"commit"`
	CPU     string   `json:"cpu"`
	Cores   int      `json:"cores"`
	Kernel  string   `json:"kernel"`
	Go      string   `json:"go"`
	Root    bool     `json:"root"`
	Streams string   `json:"streams"` // iperf3 or built in
	Control string   `json:"tcp_congestion_control"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"`
	Results []result `json:"cases"`
}

// commitVar tells the process inside, where git is of no use, what is measured.
const commitVar = "ADIT_PERF_COMMIT"

// commit names what is measured, with -dirty if there are changes.
func commit() string {
	b, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

func newReport(w *world, o options) *report {
	r := &report{
		Date: time.Now().UTC().Format(time.RFC3339), Commit: os.Getenv(commitVar), CPU: cpuName(), Cores: runtime.NumCPU(),
		Kernel: kernel(), Go: runtime.Version(), Root: os.Getuid() == 0, Streams: "built in", Rounds: o.rounds, Seconds: o.seconds,
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control"); err == nil {
		r.Control = strings.TrimSpace(string(b))
	}
	if w.iperf != "" {
		r.Streams = "iperf3"
	}
	fmt.Println(r.where())
	fmt.Println()
	return r
}

func (r *report) where() string {
	who := "an ordinary user"
	if r.Root {
		who = "root"
	}
	return fmt.Sprintf("%s, commit %s, %s × %d, Linux %s, %s, by %s; streams: %s, TCP %s; %d rounds of %g s",
		r.Date, r.Commit, r.CPU, r.Cores, r.Kernel, r.Go, who, r.Streams, r.Control, r.Rounds, r.Seconds)
}

func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// failures counts gates that are not met and measurements that have failed.
func (r *report) failures() (n int) {
	for _, x := range r.Results {
		for _, v := range x.Verdicts {
			if v.failed() {
				n++
			}
		}
		for _, s := range x.Summaries {
			n += s.Failed
		}
	}
	return n
}

// write writes the gates of all trials, and the files that were asked for.
func (r *report) write(o options) error {
	rows := gateRows(nil)
	rows[0] = append([]string{"case"}, rows[0]...)
	for _, x := range r.Results {
		for _, row := range gateRows(x.Verdicts)[1:] {
			rows = append(rows, append([]string{x.Name}, row...))
		}
	}
	if len(rows) > 1 {
		writeText(os.Stdout, rows)
	}
	if o.json != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.markdown == "" {
		return nil
	}
	var text bytes.Buffer
	r.markdown(&text, rows)
	old, err := os.ReadFile(o.markdown)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	head, ok := keep(old)
	if !ok {
		return fmt.Errorf("write the report: %s is not one, nor has it the line %s behind which to write", o.markdown, strings.TrimSpace(mark))
	}
	return os.WriteFile(o.markdown, append(head, text.Bytes()...), 0o644)
}

// mark is the line of a document behind which the last run stands.
const mark = "<!-- What follows is written by make perf. -->\n"

// keep returns what stays of a document when a run is written into it: all down
// to the mark. Of an empty one it is the mark alone; one without it is somebody's
// work, and not ok.
func keep(document []byte) (head []byte, ok bool) {
	if len(document) == 0 {
		return []byte(mark + "\n"), true
	}
	i := bytes.Index(document, []byte(mark))
	if i < 0 {
		return nil, false
	}
	i += len(mark)
	return append(document[:i:i], '\n'), true
}

func (r *report) markdown(w io.Writer, gates [][]string) {
	fmt.Fprintf(w, "%s\n\n## Gates\n\n", r.where())
	writeMarkdown(w, gates)
	fmt.Fprint(w, "\n## Cases\n\n")
	for _, x := range r.Results {
		writeResult(w, x, true)
	}
}
