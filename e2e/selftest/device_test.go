package selftest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
	"adit/e2e/suite"
)

// An engine is an implementation of WireGuard: how it is run in the foreground
// with an interface of that name.
type engine struct {
	name    string
	command func(ifname string) *exec.Cmd
}

var (
	adit = engine{"adit", func(ifname string) *exec.Cmd {
		cmd := exec.Command(suite.Adit(), "device", ifname, "-f")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		return cmd
	}}
	wireguardGo = engine{"wireguard-go", peer.Daemon}
)

// A pair says who is on side a and who on side b.
type pair struct{ a, b engine }

func (p pair) String() string { return p.a.name + "+" + p.b.name }

// Every check runs with these. The last is the control of the tests themselves:
// what it does not show either is not adit's fault.
var (
	pairs   = []pair{{adit, adit}, {adit, wireguardGo}, {wireguardGo, adit}}
	control = pair{wireguardGo, wireguardGo}
)

// eachPair runs a test with every pair and with the control, all at the same
// time as others. It is called once in a test.
func eachPair(t *testing.T, test func(t *testing.T, p pair)) {
	t.Helper()
	t.Parallel()
	for _, p := range append(pairs[:len(pairs):len(pairs)], control) {
		runPair(t, p, test)
	}
}

// eachPairOnly is eachPair without the control, for what is expensive.
func eachPairOnly(t *testing.T, test func(t *testing.T, p pair)) {
	t.Helper()
	t.Parallel()
	for _, p := range pairs {
		runPair(t, p, test)
	}
}

// each runs a test of one device with both engines.
func each(t *testing.T, test func(t *testing.T, e engine)) {
	t.Helper()
	t.Parallel()
	for _, e := range []engine{adit, wireguardGo} {
		t.Run(e.name, func(t *testing.T) {
			need(t)
			t.Parallel()
			test(t, e)
		})
	}
}

// eachOfAdit runs a test with the pairs of which side a is adit, for what
// wireguard-go does not do.
func eachOfAdit(t *testing.T, test func(t *testing.T, p pair)) {
	t.Helper()
	t.Parallel()
	for _, p := range pairs {
		if p.a.name == adit.name {
			runPair(t, p, test)
		}
	}
}

func runPair(t *testing.T, p pair, test func(t *testing.T, p pair)) {
	t.Run(p.String(), func(t *testing.T) {
		need(t)
		t.Parallel()
		test(t, p)
	})
}

// need skips the test where the lab is not root's, who alone may make
// interfaces everywhere and set how long mappings live, or lacks the programs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	suite.Lab(t)
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	suite.Need(t, append([]string{"ip", "wg", "ping"}, programs...)...)
}

// busy is held by a test that keeps the processor busy.
var busy sync.Mutex

// A device is an interface of WireGuard with the process behind it.
type device struct {
	*host  // where the interface is
	engine engine
	name   string // of the interface
	key    peer.Key
	port   int // 0: whichever
	cmd    *exec.Cmd
	exited chan error // one, when the process has ended
	log    bytes.Buffer
}

var devices atomic.Int32

const socketFolder = "/var/run/wireguard"

// startDevice runs an engine on h until the test ends, when nothing of it may
// be left. The interface has no key, is down and has no address.
func startDevice(h *host, e engine) *device {
	h.t.Helper()
	d := &device{host: h, engine: e, name: fmt.Sprintf("wg%d", devices.Add(1)), key: peer.NewKey(), exited: make(chan error, 1)}
	d.cmd = e.command(d.name)
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = nil, &d.log, &d.log
	if err := h.ns.Do(d.cmd.Start); err != nil {
		h.t.Fatal(err)
	}
	go func() { d.exited <- d.cmd.Wait() }()
	h.t.Cleanup(d.end)
	// Not by asking with wg: that removes a socket which is bound and not yet
	// listened to, as one that somebody has left behind.
	eventually(h.t, e.name+" listens for wg", func() bool {
		select {
		case err := <-d.exited:
			d.exited <- err
			h.t.Fatalf("%s ends: %v\n%s", e.name, err, d.log.String())
		default:
		}
		c, err := net.Dial("unix", d.socket())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return d
}

func (d *device) socket() string { return filepath.Join(socketFolder, d.name+".sock") }

// end asks the process to end, if it is there still, and looks for what it has
// left: the process, the socket, the interface.
func (d *device) end() {
	t := d.t
	t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-d.exited:
		d.exited <- err
		if err != nil {
			t.Errorf("%s on %s, told to end: %v", d.engine.name, d.host.name, err)
		}
	case <-time.After(patience):
		d.cmd.Process.Kill()
		d.exited <- <-d.exited
		t.Errorf("%s on %s does not end", d.engine.name, d.host.name)
	}
	if _, err := os.Stat(d.socket()); !os.IsNotExist(err) {
		t.Errorf("%s on %s leaves its socket behind (%v)", d.engine.name, d.host.name, err)
	}
	if d.exists() {
		t.Errorf("%s on %s leaves its interface behind", d.engine.name, d.host.name)
	}
	if t.Failed() && d.log.Len() > 0 {
		t.Logf("%s on %s said:\n%s", d.engine.name, d.host.name, d.log.String())
	}
}

// exists reports whether the interface is there.
func (d *device) exists() bool {
	_, err := d.try("", "ip", "link", "show", d.name)
	return err == nil
}

// set runs wg set with the words of the line. A word that starts with "@" is a
// key that wg reads from a file.
func (d *device) set(format string, args ...any) {
	d.t.Helper()
	words := strings.Fields(fmt.Sprintf(format, args...))
	for i, w := range words {
		if secret, ok := strings.CutPrefix(w, "@"); ok {
			words[i] = d.secret(secret)
		}
	}
	d.run("wg", append([]string{"set", d.name}, words...)...)
}

// secret writes a key to a file and returns its path.
func (d *device) secret(text string) string {
	d.t.Helper()
	path := filepath.Join(d.t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// show runs wg show NAME WHAT.
func (d *device) show(what string) string {
	d.t.Helper()
	return strings.TrimSuffix(d.run("wg", "show", d.name, what), "\n")
}

// want checks what wg shows, tabs and lines as it prints them.
func (d *device) want(what, value string) {
	d.t.Helper()
	if got := d.show(what); got != value {
		d.t.Fatalf("on %s wg show %s says\n%q, want\n%q", d.host.name, what, got, value)
	}
}

// of returns the one value that wg shows of a peer, and whether there is the
// peer at all.
func (d *device) of(publicKey, what string) (string, bool) {
	d.t.Helper()
	for line := range strings.Lines(d.show(what)) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok && key == publicKey {
			return value, true
		}
	}
	return "", false
}

// wantEndpoint waits until wg shows that endpoint of the peer.
func (d *device) wantEndpoint(publicKey, endpoint string) {
	d.t.Helper()
	var got string
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if got, _ = d.of(publicKey, "endpoints"); got == endpoint {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("%s takes the peer to be at %s, want %s", d.host.name, got, endpoint)
		}
	}
}

// A count is the bytes of a peer or of a device, as wg shows them.
type count struct{ received, sent int }

// transfer returns a peer's byte counters.
func (d *device) transfer(publicKey string) count {
	d.t.Helper()
	value, ok := d.of(publicKey, "transfer")
	rx, tx, _ := strings.Cut(value, "\t")
	received, err1 := strconv.Atoi(rx)
	sent, err2 := strconv.Atoi(tx)
	if !ok || err1 != nil || err2 != nil {
		d.t.Fatalf("wg show transfer says %q of the peer", value)
	}
	return count{received, sent}
}

// handshake returns when the last handshake with a peer was, in seconds of
// Unix time; 0 if there was none.
func (d *device) handshake(publicKey string) int {
	d.t.Helper()
	value, _ := d.of(publicKey, "latest-handshakes")
	n, err := strconv.Atoi(value)
	if err != nil {
		d.t.Fatalf("wg show latest-handshakes says %q of the peer", value)
	}
	return n
}
