package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// A client is a tunnel program under measurement.
type client interface {
	name() string
	// measure opens the tunnel, runs argv through it, and closes it.
	measure(argv []string) (run, error)
}

// aditClient runs argv by adit; the tunnel's process is the engine.
type aditClient struct {
	lab            *lab.Lab
	binary, config string
}

func (c *aditClient) name() string { return "adit" }

func (c *aditClient) measure(argv []string) (run, error) {
	file, err := c.lab.User.WriteFile("perf.conf", c.config, 0o600)
	if err != nil {
		return run{}, err
	}
	// The script waits twice, so that the engine's time can be read before and
	// after the stream; its parent is the engine.
	script := `echo $PPID; read x; out=$("$@"); echo "$out" | tr '\n' ' '; echo; read x`
	cmd := c.lab.User.Command(c.binary, append([]string{"run", "-c", file, "--", "sh", "-c", script, "sh"}, argv...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return run{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return run{}, err
	}
	if err := lab.Start(cmd); err != nil {
		return run{}, err
	}
	defer cmd.Wait()
	defer in.Close()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		return run{}, fmt.Errorf("adit did not start the command: %w", err)
	}
	engine, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return run{}, err
	}
	before, err := cpuOf(engine)
	if err != nil {
		return run{}, err
	}
	fmt.Fprintln(in)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return run{}, err
	}
	after, err := cpuOf(engine)
	if err != nil {
		return run{}, err
	}
	return newRun(text, after.minus(before))
}

// start returns the median time of "adit run -- true" from exec to exit, in
// milliseconds: namespaces, tunnel and handshake.
func (c *aditClient) start() (float64, error) {
	file, err := c.lab.User.WriteFile("perf.conf", c.config, 0o600)
	if err != nil {
		return 0, err
	}
	var took []float64
	for range 20 {
		cmd := c.lab.User.Command(c.binary, "run", "-c", file, "--", "true")
		cmd.Stderr = os.Stderr
		begin := time.Now()
		if err := lab.Start(cmd); err != nil {
			return 0, err
		}
		if err := cmd.Wait(); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(begin).Microseconds())/1000)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// wireguardGo has its interface on the host itself.
type wireguardGo struct {
	lab             *lab.Lab
	private, server string
}

func (c *wireguardGo) name() string { return "wireguard-go" }

func (c *wireguardGo) measure(argv []string) (run, error) {
	inner := []netip.Prefix{lab.TunnelV4, lab.TunnelV6}
	endpoint := netip.AddrPortFrom(lab.ServerV4.Addr(), serverPort).String()
	p, err := peer.Start("wgclient", peer.Device(c.private, 0)+peer.Remote(c.server, "", endpoint, inner...))
	if err != nil {
		return run{}, err
	}
	defer p.Kill()
	if err := lab.BringUp("wgclient", clientAddrs, inner); err != nil {
		return run{}, err
	}
	before, err := cpuOf(p.PID())
	if err != nil {
		return run{}, err
	}
	cmd := c.lab.User.Command(argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := lab.Start(cmd); err != nil {
		return run{}, err
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return run{}, err
	}
	after, err := cpuOf(p.PID())
	if err != nil {
		return run{}, err
	}
	return newRun(out.Bytes(), after.minus(before))
}

// cpu is the time that a process has computed, in seconds.
type cpu struct{ user, system float64 }

func (a cpu) minus(b cpu) cpu { return cpu{a.user - b.user, a.system - b.system} }

// cpuOf reads the time of a process with all its threads: utime and stime of
// proc_pid_stat(5), in ticks of 1/100 s.
func cpuOf(pid int) (cpu, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cpu{}, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const utime, stime, ticks = 11, 12, 100 // counted from the field after comm
	if len(f) <= stime {
		return cpu{}, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	u, err1 := strconv.ParseFloat(f[utime], 64)
	s, err2 := strconv.ParseFloat(f[stime], 64)
	return cpu{u / ticks, s / ticks}, errors.Join(err1, err2)
}
