package device

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/wg"
	"adit/wg/wgtest"
)

// newTestDevice returns a device that is up or down, without a TUN, and runs it.
func newTestDevice(t *testing.T, up bool) *Device {
	t.Helper()
	d, err := newDevice(wgtest.NewPipe(DefaultMTU), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.engine.Run(t.Context()) }()
	t.Cleanup(func() { // t.Context has ended
		if err := <-ended; err != nil {
			t.Errorf("the engine ended: %v", err)
		}
	})
	d.follow(up)
	return d
}

// A client is one connection to a device.
type client struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, d *Device) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { d.serve(theirs); close(done) }()
	t.Cleanup(func() { ours.Close(); <-done })
	return &client{t, ours, bufio.NewReader(ours)}
}

// ask sends an operation and returns the answer up to its empty line.
func (c *client) ask(text string) string {
	c.t.Helper()
	c.c.SetDeadline(time.Now().Add(30 * time.Second)) // for each answer, however many were asked for
	go io.WriteString(c.c, text)                      // the device may answer before the end
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%.60q: after %q: %v", text, b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func (c *client) want(text, want string) {
	c.t.Helper()
	if got := c.ask(text); got != want {
		c.t.Errorf("%.60q: got %q, want %q", text, got, want)
	}
}

// wantClosed wants that the device closes the connection.
func (c *client) wantClosed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Errorf("got %q, %v, want the end", b, err)
	}
}

const peerLines = "\npreshared_key=0000000000000000000000000000000000000000000000000000000000000000\nprotocol_version=1\n"
const countLines = "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n"

func TestOneConnectionTakesSeveralOperations(t *testing.T) {
	c := dial(t, newTestDevice(t, false))
	c.want("get=1\n\n", "errno=0\n")
	c.want("set=1\nfwmark=0\n\n", "errno=0\n")
	c.want("set=1\npublic_key="+hexA+"\nallowed_ip=10.0.0.0/8\n\n", "errno=0\n")
	c.want("set=1\n\n", "errno=0\n")
	c.want("get=1\n\n", "public_key="+hexA+peerLines+countLines+"allowed_ip=10.0.0.0/8\nerrno=0\n")
	c.want("set=1\npublic_key="+hexA+"\nremove=true\n\n", "errno=0\n")
	c.want("get=1\n\n", "errno=0\n")
}

func TestRefusedOperationChangesNothing(t *testing.T) {
	c := dial(t, newTestDevice(t, false))
	c.want("set=1\npublic_key="+hexA+"\nallowed_ip=10.0.0.0/8\n\n", "errno=0\n")
	before := c.ask("get=1\n\n")
	// The rest of a refused operation is not taken for the next one.
	c.want("set=1\nreplace_peers=true\npublic_key="+hexB+"\nendpoint=nowhere\nallowed_ip=::/0\n\n", "errno=-22\n")
	c.want("set=1\nprivate_key="+hexA+"\nlisten_port=1x\n\n", "errno=-22\n")
	c.want("get=1\nlisten_port=1\n\n", "errno=-22\n")
	c.want("get=1\n\n", before)
}

func TestWhatIsNoOperationEndsTheConnection(t *testing.T) {
	d := newTestDevice(t, false)
	for text, want := range map[string]string{
		"hello\n":                      "errno=-71\n",
		"\n":                           "errno=-71\n",
		"set=2\n":                      "errno=-71\n",
		"set=1\nlisten_port\n\n":       "errno=-71\n",
		strings.Repeat("x", maxLine+1): "errno=-5\n",
		"set=1\n" + strings.Repeat("x", maxLine+1): "errno=-5\n",
	} {
		c := dial(t, d)
		c.want(text, want)
		c.wantClosed()
	}
}

func TestOperationWithoutAnEndIsLimited(t *testing.T) {
	line := "fwmark=1\n"
	r := bufio.NewReaderSize(io.MultiReader(strings.NewReader("set=1\n"), &endless{line: line}), maxLine)
	d := newTestDevice(t, false)
	if _, err := d.operation(r); errnoOf(err) != errnoIO {
		t.Errorf("got %v, want EIO", err)
	}
}

// An endless reader repeats one line.
type endless struct{ line, rest string }

func (e *endless) Read(b []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.line
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// A client that dies in the middle of an operation has not asked for it.
func TestCutOffOperationIsVoid(t *testing.T) {
	d := newTestDevice(t, false)
	for _, text := range []string{"", "s", "set=1", "set=1\n", "set=1\npublic_key=" + hexA + "\n", "get=1\n", "set=1\nfwmark=7\n\nset=1\nfwmark=8\n"} {
		r := bufio.NewReader(strings.NewReader(text))
		var err error
		for err == nil {
			_, err = d.operation(r)
		}
	}
	dial(t, d).want("get=1\n\n", "fwmark=7\nerrno=0\n")
}

func TestConnectionsAreServedSideBySide(t *testing.T) {
	d := newTestDevice(t, true)
	idle := dial(t, d)
	io.WriteString(idle.c, "set=1\n") // and no more
	var wait sync.WaitGroup
	for i := range 8 {
		c := dial(t, d)
		wait.Go(func() {
			for n := range 20 {
				key := fmt.Sprintf("%064x", 1000+i*100+n)
				if got := c.ask("set=1\npublic_key=" + key + "\nallowed_ip=10." + fmt.Sprint(i) + "." + fmt.Sprint(n) + ".0/24\n\n"); got != "errno=0\n" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	wait.Wait()
	if got := strings.Count(dial(t, d).ask("get=1\n\n"), "public_key="); got != 160 {
		t.Errorf("got %d peers, want 160", got)
	}
}

func TestLongestLineFits(t *testing.T) {
	if n := len("persistent_keepalive_interval=") + 2*wg.KeyLen; n > maxLine {
		t.Errorf("maxLine is less than %d", n)
	}
	c := dial(t, newTestDevice(t, false))
	c.want("set=1\nlisten_port="+strings.Repeat("0", maxLine-len("listen_port=0\n"))+"0\n\n", "errno=0\n")
}

func TestPortThatIsTakenIsRefusedAndTheOldOneKept(t *testing.T) {
	other, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := netip.MustParseAddrPort(other.LocalAddr().String()).Port()
	for _, up := range []bool{true, false} {
		c := dial(t, newTestDevice(t, up))
		before := c.ask("get=1\n\n")
		c.want(fmt.Sprintf("set=1\nlisten_port=%d\npublic_key=%s\n\n", taken, hexA), "errno=-98\n")
		c.want("get=1\n\n", before)
	}
}

// Whatever a client writes, it gets answers that each end with one errno line,
// and what it can read back is what somebody could have set.
func FuzzClient(f *testing.F) {
	f.Add([]byte("get=1\n\nset=1\nprivate_key=" + hexA + "\nfwmark=7\npublic_key=" + hexB + "\nallowed_ip=::/0\n\nget=1\n\n"))
	f.Add([]byte("set=1\nreplace_peers=true\n\nget=1\nx\n\nhello\n"))
	f.Add([]byte("set=1\n\n\n\n"))
	d, err := newDevice(wgtest.NewPipe(DefaultMTU), false, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "listen_port=") || strings.Contains(string(text), "fwmark=") {
			return // touch the system
		}
		r := bufio.NewReaderSize(strings.NewReader(string(text)), maxLine)
		for {
			answer, err := d.operation(r)
			if errnoOf(err) != 0 && len(answer) > 0 {
				t.Fatalf("an answer %q with error %v", answer, err)
			}
			if err != nil {
				break
			}
		}
		var p parser
		for line := range strings.Lines(string(d.get())) {
			key, _, _ := strings.Cut(line, "=")
			switch key {
			case "last_handshake_time_sec", "last_handshake_time_nsec", "tx_bytes", "rx_bytes":
				continue
			}
			if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
				t.Fatalf("what was got cannot be set: %q: %v", line, err)
			}
		}
	})
}
