package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"adit/e2e/oracle"
	"adit/e2e/suite"
)

// listening serves TCP at 8080 for both families, and UDP at 8081 for IPv4. Each
// peer hears its own address. The line that it reads says for how many seconds it
// is to wait for a datagram.
const listening = `
import socket, sys, threading
l = socket.create_server(("", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
def serve():
    while True:
        c, a = l.accept()
        c.sendall(f"{a[0]} {c.getpeername()[0]} {c.getsockname()[0]}\n".encode())
        c.close()
threading.Thread(target=serve, daemon=True).start()
u = None
if "udp" in sys.argv:
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("", 8081))
print("READY", flush=True)
patience = float(sys.stdin.readline())
try:
    if u:
        u.settimeout(patience)
        print("GOT", u.recvfrom(100)[1][0], flush=True)
except TimeoutError:
    print("NOTHING", flush=True)
`

// listeners are the modes and, with each, how the listener is to be started: without
// UDP where there is none.
var listeners = map[string][]string{
	"namespace": {"udp"}, "seccomp": {"udp"}, "preload": nil,
}

// A listener of the command is not reached from the tunnel: nothing is exposed.
func TestNothingIsExposedToTheTunnel(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	w.watch(t, oracle.AllowLoopbackTCP())
	for mode, how := range listeners {
		s := startStream(t, w.listener(t, how, "--mode="+mode))
		s.want("READY")
		for _, a := range clientAddresses(someClient) {
			to := netip.AddrPortFrom(a.Addr(), 8080)
			_, err := w.visit(to, false)
			if err == nil {
				t.Errorf("%s: %s: connected to a port that is not exposed", mode, to)
			} else if strings.Contains(err.Error(), "refused") {
				t.Errorf("%s: %s: %v: a scan must not tell a port that listens from one that does not", mode, to, err)
			}
		}
		w.throw(t, "10.9.0.2:8081")
		s.send("0.5\n")
		if how != nil {
			if got, _ := s.next(); got != "NOTHING" {
				t.Errorf("%s: a datagram to a port that has sent none: %s", mode, got)
			}
		}
		s.wantEnd(0)
	}
}

// What --expose names is reached, and knows who comes; what it does not is not.
func TestExposedPortsAreReachedFromTheTunnel(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	w.watch(t, oracle.AllowLoopbackTCP())
	for mode, how := range listeners {
		for _, c := range []struct {
			expose   string
			tcp, udp bool
		}{{"8080", true, false}, {"8081/udp", false, true}, {"all", true, true}} {
			s := startStream(t, w.listener(t, how, "--mode="+mode, "--expose", c.expose))
			s.want("READY")
			for i, a := range clientAddresses(someClient) {
				to := netip.AddrPortFrom(a.Addr(), 8080)
				said, err := w.visit(to, c.tcp)
				if (err == nil) != c.tcp {
					t.Errorf("%s, %s exposed: %s: got %v", mode, c.expose, to, err)
				}
				// As a dual-stack socket names IPv4.
				names := []string{"::ffff:10.9.0.1 ::ffff:10.9.0.1 ::ffff:10.9.0.2\n", "fd09::1 fd09::1 fd09::2\n"}
				if c.tcp && said != names[i] {
					t.Errorf("%s, %s exposed: the listener says %q, want %q", mode, c.expose, said, names[i])
				}
			}
			w.throw(t, "10.9.0.2:8081")
			want, patience := "NOTHING", "0.5\n"
			if c.udp {
				want, patience = "GOT 10.9.0.1", "30\n"
			}
			s.send(patience)
			if how != nil {
				if got, _ := s.next(); got != want {
					t.Errorf("%s, %s exposed: the datagrams' listener says %s, want %s", mode, c.expose, got, want)
				}
			}
			s.wantEnd(0)
		}
	}
}

// listener is the command that listens, run with options.
func (w *world) listener(t *testing.T, how []string, options ...string) *exec.Cmd {
	t.Helper()
	args := append(options, "-c", conf{}.write(t, w), "--", "python3", "-c", listening)
	return w.run(append(args, how...)...)
}

// visit connects from the tunnel's other end and returns what is said there. Where
// nobody is expected to answer, it does not wait long.
func (w *world) visit(to netip.AddrPort, answers bool) (said string, err error) {
	patience := time.Second
	if answers {
		patience = deadline
	}
	err = w.Server.Do(func() error {
		c, err := net.DialTimeout("tcp", to.String(), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(deadline))
		b, err := io.ReadAll(c)
		said = string(b)
		return err
	})
	return said, err
}

// throw sends a datagram from the tunnel's other end.
func (w *world) throw(t *testing.T, to string) {
	t.Helper()
	err := w.Server.Do(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = fmt.Fprint(c, "hello")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
