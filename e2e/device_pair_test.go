package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

// A pair is two hosts of root's with a cable between them: 10.88.0.1 and .2,
// fd88::1 and ::2. Interfaces of WireGuard have other names on each: all of
// them share /var/run.
type pair struct {
	*world
	a, b *lab.Namespace
}

func enterPair(t *testing.T) *pair {
	t.Helper()
	w := enter(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	suite.Need(t, "wg", "ip", "ping", "bash", "pgrep", "python3")
	p := &pair{world: w}
	for _, n := range []**lab.Namespace{&p.a, &p.b} {
		ns, err := lab.NewNamespace()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ns.Close() })
		*n = ns
	}
	p.sh(t, p.a, fmt.Sprintf("ip link add eth0 type veth peer name eth1 && ip link set eth1 netns /proc/%d/fd/%d", os.Getpid(), p.b.Fd()))
	for _, ns := range []*lab.Namespace{p.a, p.b} { // down and up is no new beginning
		p.sh(t, ns, "echo 1 > /proc/sys/net/ipv6/conf/all/keep_addr_on_down; echo 1 > /proc/sys/net/ipv6/conf/default/keep_addr_on_down")
	}
	p.sh(t, p.a, `ip link set lo up; ip link set eth0 up; ip addr add 10.88.0.1/24 dev eth0; ip addr add fd88::1/64 dev eth0 nodad`)
	p.sh(t, p.b, `ip link set lo up; ip link set eth1 up; ip addr add 10.88.0.2/24 dev eth1; ip addr add fd88::2/64 dev eth1 nodad`)
	return p
}

// start starts a process in a namespace, with the binary and wireguard-adit on
// its PATH.
func (p *pair) start(t *testing.T, ns *lab.Namespace, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(cmd.Environ(), "PATH="+p.bin(t)+":"+lab.Path)
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
}

// bin returns a folder with links to the binary under both of its names.
func (p *pair) bin(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(p.Dir, "device-bin")
	os.Mkdir(dir, 0o755)
	for _, name := range []string{"adit", "wireguard-adit"} {
		if err := os.Symlink(p.adit, filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs a script in the namespace and returns what it wrote and its status.
func (p *pair) run(t *testing.T, ns *lab.Namespace, script string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	p.start(t, ns, cmd)
	code, _ = wait(t, cmd)
	return out.String(), err.String(), code
}

// sh is run for what has to work. It returns the output without its last line
// end.
func (p *pair) sh(t *testing.T, ns *lab.Namespace, script string) string {
	t.Helper()
	stdout, stderr, code := p.run(t, ns, script)
	if code != 0 {
		t.Fatalf("%s: status %d\nstdout: %s\nstderr: %s", script, code, stdout, stderr)
	}
	return strings.TrimSuffix(stdout, "\n")
}

// eventually repeats the script until it succeeds.
func (p *pair) eventually(t *testing.T, ns *lab.Namespace, script string) {
	t.Helper()
	var stderr string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var code int
		if _, stderr, code = p.run(t, ns, script); code == 0 {
			return
		}
	}
	t.Fatalf("%s: still fails\n%s", script, stderr)
}

// device runs "adit device NAME -f" until the test ends, and waits for it.
func (p *pair) device(t *testing.T, ns *lab.Namespace, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(p.adit, "device", name, "-f")
	p.foreground(t, ns, name, cmd)
	return cmd
}

// wireguardGo is device with the other implementation.
func (p *pair) wireguardGo(t *testing.T, ns *lab.Namespace, name string) *exec.Cmd {
	t.Helper()
	cmd := peer.Daemon(name)
	p.foreground(t, ns, name, cmd)
	return cmd
}

func (p *pair) foreground(t *testing.T, ns *lab.Namespace, name string, cmd *exec.Cmd) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	p.start(t, ns, cmd)
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			p.end(t, cmd, syscall.SIGTERM)
		}
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("%s said: %s", name, stderr.String())
		}
	})
	// Before wg: it unlinks a socket at which it is refused, and meanwhile that may have
	// been replaced.
	if !settle(20*time.Second, func() bool {
		c, err := net.Dial("unix", socketPath(name))
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Fatalf("nobody listens at %s", socketPath(name))
	}
	p.eventually(t, ns, "wg show "+name+" public-key")
}

// end sends the signal and wants success.
func (p *pair) end(t *testing.T, cmd *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	cmd.Process.Signal(sig)
	if code, sig := wait(t, cmd); code != 0 {
		t.Errorf("%v: ended with status %d, signal %v, want 0", cmd.Args, code, sig)
	}
}

func socketPath(name string) string { return "/var/run/wireguard/" + name + ".sock" }

func (p *pair) wantNoSocket(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(socketPath(name)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", socketPath(name), err)
	}
}

// tunnel makes wga on a and wgb on b, each other's peers: 10.99.0.1 and .2,
// fd99::1 and ::2.
func (p *pair) tunnel(t *testing.T) (a, b peer.Key) {
	t.Helper()
	a, b = peer.NewKey(), peer.NewKey()
	p.device(t, p.a, "wga")
	p.wireguardGo(t, p.b, "wgb")
	p.sh(t, p.a, fmt.Sprintf(`wg set wga private-key <(echo %s) listen-port 1000 peer %s allowed-ips 10.99.0.2/32,fd99::2/128 endpoint 10.88.0.2:2000
		ip addr add 10.99.0.1/24 dev wga; ip addr add fd99::1/64 dev wga nodad; ip link set wga up`, a.Private, b.Public))
	p.sh(t, p.b, fmt.Sprintf(`wg set wgb private-key <(echo %s) listen-port 2000 peer %s allowed-ips 10.99.0.1/32,fd99::1/128 endpoint 10.88.0.1:1000
		ip addr add 10.99.0.2/24 dev wgb; ip addr add fd99::2/64 dev wgb nodad; ip link set wgb up`, b.Private, a.Public))
	return a, b
}

// runsNone is the beginning of a script that succeeds if no process of the namespace has
// arguments like those that follow. Another lab's are none of it.
const runsNone = "! pgrep --ns $$ --nslist net -f "

const (
	pingB = "ping -c 3 -i 0.05 -W 2 10.99.0.2 && ping -6 -c 3 -i 0.05 -W 2 fd99::2"
	pingA = "ping -c 3 -i 0.05 -W 2 10.99.0.1 && ping -6 -c 3 -i 0.05 -W 2 fd99::1"
)
