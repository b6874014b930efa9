package soak

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"adit/e2e/lab"
)

// totals are what a probe's traffic has said of itself.
type totals struct {
	mu   sync.Mutex // guards line
	line string
}

func newTotals(line string) *totals { return &totals{line: line} }

func (o *totals) set(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line = line
}

func (o *totals) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.line
}

// judge wants everything to have been carried, nothing wrong, and most of it at
// the first attempt: what is on its way when the peer is restarted takes fifteen
// seconds (§6.5), or fails.
func (o *totals) judge(t *testing.T, name string) {
	t.Helper()
	var size, connections, echoes, lost, names, pings, failed, wrong int
	_, err := fmt.Sscanf(o.last(), "bytes %d connections %d echoes %d lost %d names %d pings %d failed %d wrong %d",
		&size, &connections, &echoes, &lost, &names, &pings, &failed, &wrong)
	switch {
	case err != nil:
		t.Errorf("%s: the probe said %q: %v", name, o.last(), err)
	case wrong > 0:
		t.Errorf("%s: %d times other bytes came back than were sent", name, wrong)
	case size == 0 || connections == 0 || echoes == 0 || names == 0:
		t.Errorf("%s: some kind of traffic never got through: %s", name, o.last())
	case failed*10 > connections+names:
		t.Errorf("%s: too much failed: %s", name, o.last())
	}
}

// shortRuns are runs of adit one after the other.
type shortRuns struct {
	ran    int
	failed []string // what they said
}

// again runs adit for a moment, over and over until stop is closed.
func (r *shortRuns) again(w *world, conf string, stop <-chan struct{}) {
	for {
		r.ran++
		if err := r.one(w, conf); err != nil {
			r.failed = append(r.failed, err.Error())
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Second):
		}
	}
}

// one runs adit once, for a line that goes through the tunnel and back.
func (r *shortRuns) one(w *world, conf string) error {
	cmd := w.lab.User.Command(adit, "run", "--wait-timeout", "60s", "-c", conf, "--", probe, "tcp", lab.ServiceV4.String()+":7")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := w.Client.Do(func() error { return lab.Start(cmd) }); err != nil {
		return err
	}
	late := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) || err == nil && out.String() != "hello\n" {
		return fmt.Errorf("%v: %q, %q", err, out.String(), said.String())
	}
	return err
}
