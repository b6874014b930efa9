package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"adit/e2e/lab"
)

// A stream makes one TCP connection to the server and keeps it busy.
type stream struct {
	server  *lab.Namespace
	iperf   string // its path, or empty for our own
	self    string // a copy of this program that the user can run
	seconds int
}

const (
	iperfPort  = 5201
	sinkPort   = 5301 // takes
	sourcePort = 5302 // gives
)

// newStream starts the server's side.
func newStream(l *lab.Lab, o options) (*stream, error) {
	s := &stream{server: l.Server, seconds: o.seconds}
	if path, err := lab.Look("iperf3"); err == nil && !o.own {
		s.iperf = path
		return s, nil
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	s.self = filepath.Join(l.Dir, "pump")
	if err := os.WriteFile(s.self, self, 0o755); err != nil {
		return nil, err
	}
	return s, l.Server.Do(func() error {
		for port, serve := range map[int]func(net.Conn) int64{sinkPort: take, sourcePort: give} {
			ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { defer c.Close(); serve(c) }()
				}
			}()
		}
		return nil
	})
}

// serve starts a server for one stream and returns what ends it. An iperf3 that
// still waits for the end of the last stream would refuse the next.
func (s *stream) serve() (end func(), err error) {
	if s.iperf == "" {
		return func() {}, nil
	}
	cmd := exec.Command(s.iperf, "-s", "-1", "--forceflush", "-p", strconv.Itoa(iperfPort))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.server.Do(cmd.Start); err != nil {
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

func (s *stream) name() string {
	if s.iperf != "" {
		return "iperf3"
	}
	return "built in"
}

// argv returns the client's command. It prints JSON that newRun understands.
func (s *stream) argv(down bool) []string {
	seconds := strconv.Itoa(s.seconds)
	if s.iperf != "" {
		argv := []string{s.iperf, "-J", "-c", lab.ServiceV4.String(), "-p", strconv.Itoa(iperfPort), "-t", seconds}
		if down {
			argv = append(argv, "-R")
		}
		return argv
	}
	port, way := sinkPort, "up"
	if down {
		port, way = sourcePort, "down"
	}
	return []string{s.self, pumpRole, way, netip.AddrPortFrom(lab.ServiceV4, uint16(port)).String(), seconds}
}

// A streamResult is the part of iperf3's JSON that matters; our own stream prints
// the same.
type streamResult struct {
	End struct {
		Received struct {
			Bytes   float64 `json:"bytes"`
			Seconds float64 `json:"seconds"`
		} `json:"sum_received"`
	} `json:"end"`
	Error string `json:"error,omitempty"`
}

const pumpRole = "e2e-pump"

// pumpMain is the client of our own stream, if this process is one.
func pumpMain() {
	if len(os.Args) != 5 || os.Args[1] != pumpRole {
		return
	}
	var r streamResult
	c, err := net.DialTimeout("tcp", os.Args[3], 10*time.Second)
	if err != nil {
		r.Error = err.Error()
	} else {
		seconds, _ := strconv.Atoi(os.Args[4])
		begin := time.Now()
		c.SetDeadline(begin.Add(time.Duration(seconds) * time.Second))
		n := map[string]func(net.Conn) int64{"up": give, "down": take}[os.Args[2]](c)
		r.End.Received.Bytes, r.End.Received.Seconds = float64(n), time.Since(begin).Seconds()
	}
	json.NewEncoder(os.Stdout).Encode(r)
	os.Exit(0)
}

// give writes until the deadline or the end of c, take reads; both return how
// many bytes.
func give(c net.Conn) int64 { return pump(c.Write) }
func take(c net.Conn) int64 { return pump(c.Read) }

func pump(step func([]byte) (int, error)) (total int64) {
	buf := make([]byte, 128<<10)
	for {
		n, err := step(buf)
		total += int64(n)
		if err != nil {
			return total
		}
	}
}
