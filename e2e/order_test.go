package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// A tcpCount is what a namespace's TCP has seen: counters of /proc/net/netstat and
// /proc/net/snmp by name (Linux, Documentation/networking/snmp_counter.rst).
type tcpCount map[string]int

// parseTCPCount reads the two files, one behind the other.
func parseTCPCount(t *testing.T, text string) tcpCount {
	t.Helper()
	c := make(tcpCount)
	lines := strings.Split(text, "\n")
	for i := 1; i < len(lines); i++ {
		names, values := strings.Fields(lines[i-1]), strings.Fields(lines[i])
		if len(names) != len(values) || len(names) == 0 || names[0] != values[0] || names[0] != "TcpExt:" && names[0] != "Tcp:" {
			continue
		}
		for k := range names[1:] {
			if n, err := strconv.Atoi(values[k+1]); err == nil {
				c[names[k+1]] = n
			}
		}
	}
	for _, name := range []string{"TCPOFOQueue", "TCPSACKReorder", "TCPTSReorder", "TCPRenoReorder", "RetransSegs", "InSegs"} {
		if _, ok := c[name]; !ok {
			t.Fatalf("the kernel does not count %s", name)
		}
	}
	return c
}

// serverCount reads the server's counters.
func (w *world) serverCount(t *testing.T) tcpCount {
	t.Helper()
	var text []byte
	err := w.Server.Do(func() error {
		for _, name := range []string{"netstat", "snmp"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			text = append(text, b...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return parseTCPCount(t, string(text))
}

func (a tcpCount) minus(b tcpCount) tcpCount {
	d := make(tcpCount)
	for name := range a {
		d[name] = a[name] - b[name]
	}
	return d
}

// narrowServer bounds what the server's streams have on the way, in both
// directions, to what every queue between holds: so nothing has to be lost.
func (w *world) narrowServer(t *testing.T) {
	t.Helper()
	set := func(values map[string]string) (old map[string]string) {
		old = make(map[string]string)
		if err := w.Server.Do(func() error {
			for name, v := range values {
				file := "/proc/sys/net/ipv4/" + name
				b, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				old[name] = string(b)
				if err := os.WriteFile(file, []byte(v), 0); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return old
	}
	old := set(map[string]string{"tcp_rmem": "4096 65536 131072", "tcp_wmem": "4096 65536 131072"})
	t.Cleanup(func() { set(old) })
}

// TestNoSegmentIsOutOfOrder asks those who know best: the TCP of the receiver, which
// counts the segments that it had to put aside because an earlier one was
// missing, and that of the sender, which notices what was late and not lost. A
// try in which something was lost and sent again says nothing; the next does.
func TestNoSegmentIsOutOfOrder(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl", "head")
	w.narrowServer(t)
	const size = 60_000_000
	counters := "; cat /proc/net/netstat /proc/net/snmp"
	for _, c := range []struct {
		name, script, url string
		down              bool
	}{
		{"down", `curl -sS -o /dev/null "$1"`, fmt.Sprintf("/bytes?size=%d&seed=1", size), true},
		{"up", fmt.Sprintf(`head -c %d /dev/zero | curl -sS -o /dev/null -H Expect: -T - "$1"`, size), "/hash", false},
	} {
		for _, a := range []string{at(lab.ServiceV4), at(lab.ServiceV6)} {
			t.Run(c.name+"/"+a, func(t *testing.T) {
				for try := 1; ; try++ {
					before := w.serverCount(t)
					client := parseTCPCount(t, wantOK(t, w.in(t, conf{}, "sh", "-c", c.script+counters, "sh", "http://"+a+c.url)))
					server := w.serverCount(t).minus(before)
					from, to := client, server
					if c.down {
						from, to = server, client
					}
					t.Logf("%d segments, of them %d sent again; %d came too early, %d late", to["InSegs"], from["RetransSegs"],
						to["TCPOFOQueue"], from["TCPSACKReorder"]+from["TCPTSReorder"]+from["TCPRenoReorder"])
					if to["InSegs"] < 500 {
						t.Fatal("the counters are those of another namespace")
					}
					if from["TCPSACKReorder"]+from["TCPTSReorder"]+from["TCPRenoReorder"] != 0 {
						t.Fatal("segments came late that were not lost")
					}
					if from["RetransSegs"] > 0 && to["TCPOFOQueue"] > 0 && try < 5 {
						continue
					}
					if to["TCPOFOQueue"] != 0 {
						t.Fatal("segments came before one that was sent earlier")
					}
					return
				}
			})
		}
	}
}
