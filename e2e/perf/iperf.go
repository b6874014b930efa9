package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

const iperfPort = 5201

// serveIperf starts iperf3's server for one run and returns what ends it. One
// that still waits for the end of the last stream would refuse the next.
func (w *world) serveIperf() (end func(), err error) {
	cmd := exec.Command(w.iperf, "-s", "-1", "--forceflush", "-p", strconv.Itoa(iperfPort))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.lab.Server.Do(cmd.Start); err != nil {
		return nil, err
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "listening") {
			go io.Copy(io.Discard, out) // until it ends
			return end, nil
		}
	}
	end()
	return nil, errors.New("iperf3 does not listen")
}

// iperfArgv is the client's command: n streams, all in one direction.
func (w *world) iperfArgv(to netip.Addr, n int, down bool) []string {
	seconds := strconv.Itoa(max(1, int(w.seconds)))
	argv := []string{w.iperf, "-J", "-c", to.String(), "-p", strconv.Itoa(iperfPort), "-t", seconds, "-P", strconv.Itoa(n)}
	if down {
		argv = append(argv, "-R")
	}
	return argv
}

// parseIperf reads what the receiver got out of iperf3's JSON.
func parseIperf(text []byte) (bytes, seconds float64, err error) {
	var r struct {
		End struct {
			Received struct {
				Bytes   float64 `json:"bytes"`
				Seconds float64 `json:"seconds"`
			} `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return 0, 0, fmt.Errorf("iperf3: %w: %.200q", err, text)
	}
	if r.Error != "" {
		return 0, 0, errors.New("iperf3: " + r.Error)
	}
	return r.End.Received.Bytes, r.End.Received.Seconds, nil
}
