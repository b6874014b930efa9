package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"adit/e2e/lab"
)

// A skipped is the reason why something cannot be measured here. It is no
// failure.
type skipped struct{ error }

func cannot(reason error) error { return skipped{reason} }

// counted has the load carried and counts what no noise can touch: system calls,
// and bytes that they move. It is a measurement of its own, for counting takes
// time too.
func (w *world) counted(s *session, l load) (figures, error) {
	if err := w.prepare(s, l); err != nil {
		return nil, err
	}
	stop, err := countCalls(s.all)
	if err != nil {
		return nil, cannot(err)
	}
	moved := movedBy(s.all)
	n, _, err := w.carry(s, l)
	moved = movedBy(s.all) - moved
	calls, stopErr := stop()
	if err := errors.Join(err, stopErr); err != nil {
		return nil, err
	}
	mib := n / (1 << 20)
	return figures{"syscalls": calls / mib, "moved": moved / n}, nil
}

// countCalls counts the processes' system calls, by perf(1), until stop.
func countCalls(pids []int) (stop func() (float64, error), err error) {
	path, err := lab.Look("perf")
	if err != nil {
		return nil, err
	}
	list := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(pids)), ","), "[]")
	var out bytes.Buffer
	cmd := exec.Command(path, "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", list)
	cmd.Stderr = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
		return nil, complaint(out.String())
	case <-time.After(300 * time.Millisecond): // it has attached
	}
	return func() (float64, error) {
		cmd.Process.Signal(os.Interrupt)
		<-ended
		return parseCalls(out.String())
	}, nil
}

// parseCalls reads perf-stat(1)'s CSV.
func parseCalls(text string) (float64, error) {
	for line := range strings.Lines(text) {
		if f := strings.Split(line, ","); len(f) > 2 && strings.HasPrefix(f[2], "raw_syscalls:sys_enter") {
			return strconv.ParseFloat(f[0], 64)
		}
	}
	return 0, complaint(text)
}

// complaint is the line of perf's words that says what is wrong.
func complaint(text string) error {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	for other := range strings.Lines(text) {
		if strings.HasPrefix(other, "No permission") || strings.Contains(other, "No permissions") {
			line = other
		}
	}
	return errors.New("perf: " + strings.TrimSpace(strings.TrimPrefix(line, "Error:")))
}

// movedBy returns how many bytes have crossed the border between the processes
// and the kernel: those of read and write (proc_pid_io(5)), which are the
// device's, and those on the cable, which are the socket's. What is in memory
// that both see, as a packet socket's ring is, is not among them; nor are copies
// within a process, which nobody can count from outside.
func movedBy(pids []int) (sum float64) {
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		sum += float64(statusField(b, "rchar") + statusField(b, "wchar"))
	}
	b, _ := os.ReadFile("/proc/net/dev")
	return sum + onCable(string(b))
}

// onCable returns how many bytes the cable's end has taken and given:
// proc_pid_net(5), dev.
func onCable(text string) (sum float64) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); strings.TrimSpace(name) == "eth0" && len(f) > 8 {
			for _, column := range []int{0, 8} { // bytes received, bytes sent
				n, _ := strconv.ParseFloat(f[column], 64)
				sum += n
			}
		}
	}
	return sum
}

func countTrials() (all []trial) {
	for _, c := range []struct {
		name, about string
		load
	}{
		{"calls-up", "one TCP stream, upload", load{to: lab.ServiceV4, up: 1}},
		{"calls-down", "one TCP stream, download", load{to: lab.ServiceV4, down: 1}},
		{"calls1000-up", "a thousand TCP streams, upload", load{to: lab.ServiceV4, up: nFlows, own: true}},
		{"calls1000-down", "a thousand TCP streams, download", load{to: lab.ServiceV4, down: nFlows, own: true}},
	} {
		all = append(all, trial{
			name: c.name, about: c.about + ": system calls, and bytes that cross into the kernel and back",
			sides: contenders, against: wireguardGo, rounds: 1,
			measure: func(w *world, side string) (figures, error) {
				s, err := w.tunnel(side, terms{})
				if err != nil {
					return nil, err
				}
				defer s.close()
				return w.counted(s, c.load)
			},
		})
	}
	return all
}
