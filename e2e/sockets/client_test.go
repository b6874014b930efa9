package sockets

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

// A client is one peer of the server: whoever is one at the moment is it alone, so
// that many programs run at once.
type client struct {
	*world
	surrounding
	key     peer.Key
	number  int            // the last one of its addresses
	machine *lab.Namespace // plain; nil: adit brings its own
}

// How many clients there are, and the number of the first.
const (
	nPlain      = 4
	nOurs       = 12
	firstNumber = 2
)

// A surrounding is what a program runs in.
type surrounding struct {
	mode   string // of adit run; empty: a plain machine
	root   bool   // the caller is root
	docker bool   // under a filter like Docker's: nobody's descriptors can be had
}

var plainly = surrounding{}

// word is what the list of differences calls it.
func (s surrounding) word() string {
	if s.docker {
		return "docker"
	}
	return s.mode
}

func (s surrounding) String() string {
	name := s.mode
	if s.mode == "" {
		name = "plain"
	}
	if s.root {
		name += " as root"
	}
	if s.docker {
		name += " in Docker"
	}
	return name
}

// client waits for one that is free, and gives it back with the test.
func (w *world) client(t testing.TB, s surrounding) *client {
	t.Helper()
	free := w.ours
	if s.mode == "" {
		free = w.plain
	}
	c := <-free
	c.surrounding = s
	t.Cleanup(func() { free <- c })
	return c
}

// addresses returns those of the tunnel's that are the client's.
func (c *client) addresses() []netip.Prefix {
	v4, v6 := lab.TunnelV4.Addr().As4(), lab.TunnelV6.Addr().As16()
	v4[3], v6[15] = byte(c.number), byte(c.number)
	return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(v4), 32), netip.PrefixFrom(netip.AddrFrom16(v6), 128)}
}

// fullPort is that of the server whose queue is full, and gatePort that of its gate:
// each client has its own.
func (c *client) fullPort() int { return 3000 + 2*c.number }
func (c *client) gatePort() int { return c.fullPort() + 1 }

// gate tells the client's gate something, and waits for the answer.
func (c *client) gate(t testing.TB, order string) {
	t.Helper()
	answer := make([]byte, 1)
	err := c.Server.Do(func() error {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", c.gatePort()), 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(15 * time.Second))
		if _, err := io.WriteString(conn, order); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, answer)
		return err
	})
	if err != nil || string(answer) != "!" {
		t.Errorf("the gate: got %q, %v", answer, err)
	}
}

// conf is a wg-quick file of the client, without a route to everything.
func (c *client) conf(t testing.TB, u lab.User) string {
	t.Helper()
	a := c.addresses()
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v, %v\nDNS = %v\n[Peer]\nPublicKey = %s\nAllowedIPs = %v, %v\nEndpoint = %v\n",
		c.key.Private, a[0], a[1], lab.ServiceV4, c.serverKey.Public, lab.TunnelV4, lab.TunnelV6, endpoint)
	path, err := u.WriteFile(fmt.Sprintf("client%d.conf", c.number), text, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// command returns argv to be run in the surrounding.
func (c *client) command(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	u := c.User
	if c.root {
		u = c.Root()
	}
	if c.mode != "" {
		argv = append([]string{suite.Adit(), "run", "--mode=" + c.mode, "-c", c.conf(t, u), "--"}, argv...)
	}
	if c.docker {
		argv = append([]string{c.confine(t), "-docker", "-nnp"}, argv...)
	}
	return u.Command(argv[0], argv[1:]...)
}

// confine returns the path of e2e/confine.
func (w *world) confine(t testing.TB) string {
	t.Helper()
	w.building.Lock()
	defer w.building.Unlock()
	path := filepath.Join(w.Dir, "confine")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := suite.Build(path, "adit/e2e/confine"); err != nil {
		t.Fatalf("build confine: %v", err)
	}
	return path
}

// start starts cmd in the surrounding.
func (c *client) start(cmd *exec.Cmd) error {
	if c.machine != nil {
		return c.machine.Do(func() error { return lab.Start(cmd) })
	}
	return lab.Start(cmd)
}

// run runs argv in the surrounding, to its end, and returns what it printed. It
// must succeed in silence.
func (c *client) run(t testing.TB, within time.Duration, argv ...string) string {
	t.Helper()
	cmd := c.command(t, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, 5*time.Second
	if err := c.start(cmd); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	slow := time.AfterFunc(within, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !slow.Stop() {
		t.Fatalf("%v: %v took more than %v\nstdout: %s\nstderr: %s", c, argv, within, tail(stdout.String()), stderr.String())
	}
	if err != nil {
		t.Fatalf("%v: %v: %v\nstdout: %s\nstderr: %s", c, argv, err, tail(stdout.String()), stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("%v: %v: not silent, stderr: %s", c, argv, stderr.String())
	}
	return stdout.String()
}

// A talk is with a program that runs.
type talk struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// talk starts argv in the surrounding and ends it with the test. It must succeed in
// silence.
func (c *client) talk(t testing.TB, within time.Duration, argv ...string) *talk {
	t.Helper()
	k := &talk{t: t, cmd: c.command(t, argv...)}
	var stderr bytes.Buffer
	k.cmd.Stderr, k.cmd.WaitDelay = &stderr, 5*time.Second
	var err error
	if k.in, err = k.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.out = bufio.NewScanner(out)
	if err := c.start(k.cmd); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	slow := time.AfterFunc(within, func() { k.cmd.Process.Kill() })
	t.Cleanup(func() {
		k.in.Close()
		if err := k.cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%v: %v: %v\nstderr: %s", c, argv, err, stderr.String())
		}
		slow.Stop()
	})
	return k
}

// rest returns what the program prints from now on, to its end.
func (k *talk) rest() string {
	var text strings.Builder
	for k.out.Scan() {
		text.WriteString(k.out.Text() + "\n")
	}
	return text.String()
}

// line returns the next line that the program prints, without the first word,
// which must be key.
func (k *talk) line(key string) string {
	k.t.Helper()
	if !k.out.Scan() {
		k.t.Fatalf("%v ended before it said %q", k.cmd.Args, key)
	}
	value, ok := strings.CutPrefix(k.out.Text(), key)
	if !ok {
		k.t.Fatalf("%v: got %q, want %q", k.cmd.Args, k.out.Text(), key)
	}
	return strings.TrimSpace(value)
}

// needMode skips a test where adit cannot do the mode of the surrounding, which is
// tried once.
func (w *world) needMode(t testing.TB, s surrounding) {
	t.Helper()
	if s.root && !lab.AsRoot() {
		t.Skip("the tests were not started by root")
	}
	if s.mode == "" {
		return
	}
	try, _ := w.works.LoadOrStore(s, sync.OnceValue(func() error {
		c := <-w.ours
		defer func() { w.ours <- c }()
		c.surrounding = s
		if text, err := c.command(t, "true").CombinedOutput(); err != nil {
			return fmt.Errorf("mode %v does not work here: %s", s, text)
		}
		return nil
	}))
	if err := try.(func() error)(); err != nil {
		if suite.Required(s.mode) {
			t.Fatal(err)
		}
		suite.Skip(t, "%v", err)
	}
}
