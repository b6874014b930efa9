package selftest

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// ping sends echo requests, the next as soon as there is an answer, until n are
// answered. netns.sh's -W 1 waits no longer than the answers before took, once
// there was one, and takes one answer of ten for success: a deadline is both
// stricter and fit for a busy machine.
func (h *host) ping(n int, to string, options ...string) {
	h.t.Helper()
	args := append([]string{"-f", "-q", "-c", strconv.Itoa(n), "-w", "20"}, options...)
	h.run("ping", append(args, to)...)
}

// pingOnce sends one echo request, n times, and waits for each answer.
func (h *host) pingOnce(n int, to string, options ...string) {
	h.t.Helper()
	for range n {
		h.run("ping", append([]string{"-q", "-c", "1", "-W", "20", to}, options...)...)
	}
}

// silent checks that one echo request is not answered within a second.
func (h *host) silent(to string, options ...string) string {
	h.t.Helper()
	args := append([]string{"-c", "1", "-W", "1"}, options...)
	out, err := h.try("", "ping", append(args, to)...)
	if err == nil {
		h.t.Fatalf("%s gets an answer from %s", h.name, to)
	}
	return out
}

// pingBoth pings both ways over IPv4 and IPv6, ten times each.
func (w *world) pingBoth() {
	w.t.Helper()
	w.b.ping(10, insideA4)
	w.a.ping(10, insideB4)
	w.b.ping(10, insideA6)
	w.a.ping(10, insideB6)
}

var iperfPort struct {
	sync.Mutex
	last map[*host]int
}

// nextPort returns a port of h that no iperf3 has used yet.
func nextPort(h *host) int {
	iperfPort.Lock()
	defer iperfPort.Unlock()
	if iperfPort.last == nil {
		iperfPort.last = make(map[*host]int)
	}
	iperfPort.last[h]++
	return 5200 + iperfPort.last[h]
}

// listening reports whether somebody listens on a TCP port of h.
func (h *host) listening(port int) bool {
	out, _ := h.try("", "cat", "/proc/self/net/tcp", "/proc/self/net/tcp6")
	return listens(out, port, "0A")
}

// listens looks for a socket in a table of proc_net(5), by its port and its
// state: 0A is TCP's LISTEN, 07 what UDP has when it is not connected.
func listens(table string, port int, state string) bool {
	return regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]+:%04X [0-9A-F:]+ %s `, port, state)).MatchString(table)
}

// transferOver sends size bytes from one host to an address of another with
// iperf3, which checks that all of a TCP stream arrives. options are the
// client's.
func transferOver(from, to *host, addr, size string, options ...string) error {
	port := nextPort(to)
	server := make(chan error, 1) // the one result
	go func() {
		_, err := to.try("", "iperf3", "-s", "-1", "-B", addr, "-p", strconv.Itoa(port))
		server <- err
	}()
	for end := time.Now().Add(patience); !to.listening(port); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-server:
			return fmt.Errorf("iperf3 -s ends: %w", err)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("iperf3 -s does not listen on %s port %d", addr, port)
		}
	}
	args := append([]string{"-c", addr, "-p", strconv.Itoa(port), "-n", size, "--connect-timeout", "20000"}, options...)
	if _, err := from.try("", "iperf3", args...); err != nil {
		return err
	}
	return <-server
}

// load is what netns.sh calls tests: pings, TCP and UDP over both families, and
// several iperf3 at the same time.
func (w *world) load(size string, parallel ...int) {
	w.t.Helper()
	w.pingBoth()
	busy.Lock()
	defer busy.Unlock()
	for _, c := range []struct {
		from, to *device
		addr     string
		options  []string
	}{
		{w.a, w.b, insideB4, nil},
		{w.b, w.a, insideA6, nil},
		{w.b, w.a, insideA4, []string{"-u", "-b", "500M"}},
		{w.a, w.b, insideB6, []string{"-u", "-b", "500M"}},
	} {
		if err := transferOver(c.from.host, c.to.host, c.addr, size, c.options...); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, n := range parallel {
		errs := make(chan error, n) // one per stream
		for range n {
			go func() { errs <- transferOver(w.a.host, w.b.host, insideB4, size) }()
		}
		for range n {
			if err := <-errs; err != nil {
				w.t.Errorf("%d streams at once: %v", n, err)
			}
		}
	}
}
