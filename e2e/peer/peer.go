// Package peer runs wireguard-go (golang.zx2c4.com/wireguard) as a process of
// its own with a TUN of the kernel: the far end of every tunnel in the
// end-to-end tests, and the comparator of e2e/perf. [Start] configures it
// through a pipe, what [Daemon] describes is configured by wg(8).
//
// The process is this program again: [Main] must be the first call in main or
// TestMain.
package peer

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// role is argv[0] of the process that [Start] makes.
const role = "e2e-wireguard-go"

// Main runs wireguard-go and does not return, if this process is one that
// [Start] has started or [Daemon] describes.
func Main() {
	var err error
	switch os.Args[0] {
	case role:
		err = serve(os.Args[1], os.Stdin, os.Stdout)
	case daemonRole:
		err = serveSocket(os.Args[1])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0]+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// logger returns one that is silent unless ADIT_E2E_DEBUG is set. Not
// device.NewLogger: that one writes to standard output.
func logger(name string) *device.Logger {
	log := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	if os.Getenv("ADIT_E2E_DEBUG") != "" {
		log.Errorf = func(format string, args ...any) { fmt.Fprintf(os.Stderr, name+": "+format+"\n", args...) }
		log.Verbosef = log.Errorf
	}
	return log
}

// serve is a wireguard-go of that name.
func serve(name string, requests io.Reader, answers io.Writer) error {
	t, err := tun.CreateTUN(name, device.DefaultMTU)
	if err != nil {
		return err
	}
	dev := device.NewDevice(t, conn.NewDefaultBind(), logger(role))
	defer dev.Close()
	return Serve(dev, requests, answers)
}

// A Tunnel is what [Serve] needs of a device of wireguard-go or of a fork of it.
type Tunnel interface {
	IpcGet() (string, error)
	IpcSet(config string) error
	Up() error
}

// Serve configures dev until the requests end. A request is lines of the
// cross-platform interface (https://www.wireguard.com/xplatform/) and an empty
// line, the answer as well.
func Serve(dev Tunnel, requests io.Reader, answers io.Writer) error {
	in := bufio.NewReader(requests)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // whoever started us is done
		}
		if strings.TrimSpace(line) == "get=1" {
			in.ReadString('\n') // the empty line
			state, err := dev.IpcGet()
			fmt.Fprintf(answers, "%serrno=%d\n\n", state, errno(err))
			continue
		}
		var set strings.Builder
		for ; err == nil && strings.TrimSpace(line) != ""; line, err = in.ReadString('\n') {
			if !strings.HasPrefix(line, "set=1") {
				set.WriteString(line)
			}
		}
		err = dev.IpcSet(set.String())
		if err == nil {
			err = dev.Up()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
		}
		fmt.Fprintf(answers, "errno=%d\n\n", errno(err))
	}
}

func errno(err error) int {
	if err == nil {
		return 0
	}
	return int(syscall.EIO)
}

// A Peer is a running wireguard-go.
type Peer struct {
	Name string // of its interface
	cmd  *exec.Cmd
	in   io.WriteCloser
	mu   sync.Mutex // one request at a time
	out  *bufio.Reader
}

// Start starts wireguard-go in the network namespace of the calling thread
// and applies config, lines of the cross-platform interface. The interface
// exists when Start returns, without addresses.
func Start(name, config string) (*Peer, error) { return StartAs(role, name, config) }

// StartAs starts this program again as something else than [Start] does:
// argv[0] is role, argv[1] the interface's name, and it calls [Serve] on its
// standard input and output.
func StartAs(role, name, config string) (*Peer, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", name)
	cmd.Args[0] = role
	cmd.Env = append(os.Environ(), "GORACE=", "GOCOVERDIR=")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Peer{Name: name, cmd: cmd, in: in, out: bufio.NewReader(out)}
	if err := p.Set(config); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// PID returns the process's id.
func (p *Peer) PID() int { return p.cmd.Process.Pid }

// Set applies lines of the cross-platform interface.
func (p *Peer) Set(config string) error {
	_, err := p.request("set=1\n" + strings.TrimRight(config, "\n") + "\n\n")
	return err
}

// Get returns the device's state, lines of the cross-platform interface.
func (p *Peer) Get() (string, error) { return p.request("get=1\n\n") }

func (p *Peer) request(text string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.in, text); err != nil {
		return "", fmt.Errorf("wireguard-go: %w", err)
	}
	var answer strings.Builder
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("wireguard-go: %w", err)
		}
		if line == "\n" {
			break
		}
		answer.WriteString(line)
	}
	if s := answer.String(); !strings.HasSuffix(s, "errno=0\n") {
		return "", fmt.Errorf("wireguard-go refuses: %s", strings.TrimSpace(s))
	}
	return answer.String(), nil
}

// Kill ends the process with SIGKILL and waits for it: the interface is gone,
// and no farewell was sent.
func (p *Peer) Kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// Device returns the lines that set up the device itself.
func Device(privateKey string, listenPort int) string {
	return fmt.Sprintf("private_key=%s\nlisten_port=%d\n", hexKey(privateKey), listenPort)
}

// Remote returns the lines that add a peer. presharedKey and endpoint may be
// empty. Keys are base64.
func Remote(publicKey, presharedKey, endpoint string, allowed ...netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "public_key=%s\n", hexKey(publicKey))
	if presharedKey != "" {
		fmt.Fprintf(&b, "preshared_key=%s\n", hexKey(presharedKey))
	}
	if endpoint != "" {
		fmt.Fprintf(&b, "endpoint=%s\n", endpoint)
	}
	fmt.Fprintln(&b, "replace_allowed_ips=true")
	for _, a := range allowed {
		fmt.Fprintf(&b, "allowed_ip=%v\n", a)
	}
	return b.String()
}

func hexKey(b64 string) string {
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(b) != 32 {
		panic("BUG: not a key of the tests")
	}
	return hex.EncodeToString(b)
}
