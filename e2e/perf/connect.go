package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"time"

	"adit/e2e/lab"
)

// connects is how often one measurement connects.
const connects = 7

// pumpEcho is answered by the same byte.
const pumpEcho = 'E'

// echoScript is a command that says something to the service and prints what
// comes back. It is quick to start.
const echoScript = `exec 3<>/dev/tcp/$0/$1; printf E >&3; read -rN1 x <&3; echo "$x"`

// connectOnce returns how long it takes from exec to the first byte of the
// command's reply, in milliseconds.
func (w *world) connectOnce(side, conf string) (float64, error) {
	argv := []string{"bash", "-c", echoScript, lab.ServiceV4.String(), fmt.Sprint(pumpPort)}
	begin := time.Now()
	var cmd *exec.Cmd
	if side == adit {
		cmd = w.lab.User.Command(w.adit, append([]string{"run", "-c", conf, "--"}, argv...)...)
	} else {
		p, err := w.startClient(terms{endpoint: w.endpoint}, starters[side])
		if err != nil {
			return 0, err
		}
		defer p.Kill()
		cmd = w.lab.User.Command(argv[0], argv[1:]...)
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := lab.Start(cmd); err != nil {
		return 0, err
	}
	slow := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer slow.Stop()
	b, err := bufio.NewReader(out).ReadByte()
	took := float64(time.Since(begin).Microseconds()) / 1e3
	if wait := cmd.Wait(); err == nil {
		err = wait
	}
	if err == nil && b != pumpEcho {
		err = fmt.Errorf("the reply is %q", b)
	}
	return took, err
}

// connect measures connectOnce a few times.
func (w *world) connect(side string) (figures, error) {
	if _, err := lab.Look("bash"); err != nil {
		return nil, cannot(err)
	}
	if err := w.farEnd(wireguardGo); err != nil {
		return nil, err
	}
	conf, err := w.lab.User.WriteFile("perf.conf", w.config(terms{endpoint: w.endpoint}), 0o600)
	if err != nil {
		return nil, err
	}
	var took []float64
	for range connects {
		time.Sleep(50 * time.Millisecond) // see endFar
		ms, err := w.connectOnce(side, conf)
		if err != nil {
			return nil, err
		}
		took = append(took, ms)
	}
	return figures{"ms": spreadOf(took).Median}, nil
}

func connectTrials() []trial {
	return []trial{{
		name: "connect", about: fmt.Sprintf("from exec to the first byte of the command's reply, the peer on this machine; each round the median of %d", connects),
		sides: contenders, against: wireguardGo, measure: (*world).connect,
		gates: []gate{{side: adit, figure: "ms", must: 50, aim: 25}},
	}}
}
