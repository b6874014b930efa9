package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"adit/e2e/lab"
)

// An agent is this program again, as the ordinary user's command: it makes the
// traffic, at the client's end of the tunnel. It is told what to do by lines of
// JSON.
type agent struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	hello hello
	slow  *time.Timer // kills what takes too long
}

const agentRole = "perf-agent"

// A hello is an agent's first line.
type hello struct {
	PID    int
	Parent int   // the process that started it: adit's engine
	Nanos  int64 // CLOCK_MONOTONIC when it had something to say
}

// An order is a line to an agent.
type order struct {
	Do       string
	Address  string // host and port
	Seconds  float64
	Flows    int      // streams up
	Back     int      // streams down
	Argv     []string // of a program to run
	Size     int      // bytes of a datagram
	Segments int      // datagrams in one system call; 0 or 1 is one
	Window   int      // datagrams on their way at once
	Counter  string   // file of the counter that both ends share
	Load     string   // up or down: beside it, a stream
	Rate     int      // per second
	Count    int      // how often
	How      string   // of "dial"

	dial dialFunc // the agent's own business
}

// An answer is an agent's line back.
type answer struct {
	Error   string
	Bytes   float64 // that arrived
	Seconds float64
	Count   float64            // packets or transactions that arrived
	Sent    float64            // packets
	Micros  []float64          // round-trip times
	At      []int64            // CLOCK_MONOTONIC of each answer, in ns
	Text    string             // standard output of a program
	Allocs  float64            // allocations of the agent meanwhile
	Calls   map[string]float64 // µs of each system call
}

// agentMain is the agent's side, if this process is one. It does not return
// then.
func agentMain() {
	if len(os.Args) != 2 || os.Args[1] != agentRole {
		return
	}
	debug.SetGCPercent(400)
	obey(new(net.Dialer).DialContext)
}

// A dialFunc connects, as net.Dialer does.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// obey carries out the orders that come, with connections made by dial, and
// ends the process when there are no more.
func obey(dial dialFunc) {
	out := json.NewEncoder(os.Stdout)
	out.Encode(hello{os.Getpid(), os.Getppid(), monotonic()})
	for in := json.NewDecoder(os.Stdin); ; {
		o := order{dial: dial}
		if err := in.Decode(&o); err != nil {
			os.Exit(0) // whoever started us is done
		}
		a, err := o.carryOut()
		if err != nil {
			a.Error = err.Error()
		}
		out.Encode(a)
	}
}

func (o order) carryOut() (answer, error) {
	switch o.Do {
	case "connect":
		return doConnect(o)
	case "stream":
		return doStreams(o)
	case "send":
		return doSend(o)
	case "receive":
		return doReceive(o)
	case "transactions":
		return doTransactions(o)
	case "ping":
		return doPing(o)
	case "run":
		return doRun(o)
	case "dial":
		return doDial(o)
	case "calls":
		return doCalls(o)
	default:
		return answer{}, fmt.Errorf("no such order: %q", o.Do)
	}
}

// doRun runs a program and returns what it prints. Its exit status does not
// matter: iperf3 says in words what went wrong.
func doRun(o order) (answer, error) {
	cmd := exec.Command(o.Argv[0], o.Argv[1:]...)
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return answer{Text: string(b)}, err
}

// hire starts cmd, which is an agent or runs one as its command, and waits for
// its first words. After limit it is killed.
func hire(cmd *exec.Cmd, limit time.Duration) (*agent, error) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := lab.Start(cmd); err != nil {
		return nil, err
	}
	a := &agent{cmd: cmd, in: in, out: bufio.NewReader(out)}
	a.slow = time.AfterFunc(limit, func() { cmd.Process.Kill() })
	line, err := a.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a.hello)
	}
	if err != nil {
		a.dismiss()
		return nil, fmt.Errorf("the command does not start: %w", err)
	}
	return a, nil
}

// tell has the order carried out.
func (a *agent) tell(o order) (answer, error) {
	var r answer
	if err := json.NewEncoder(a.in).Encode(o); err != nil {
		return r, fmt.Errorf("%s: %w", o.Do, err)
	}
	line, err := a.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("%s: %w", o.Do, err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%s: %w", o.Do, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s", o.Do, r.Error)
	}
	return r, nil
}

// dismiss ends the agent and what it runs in.
func (a *agent) dismiss() {
	a.in.Close()
	last := time.AfterFunc(5*time.Second, func() { a.cmd.Process.Kill() })
	a.cmd.Wait()
	last.Stop()
	a.slow.Stop()
}
