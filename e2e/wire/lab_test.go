package wire

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// PDEATHSIG is tied to the thread that forks (prctl(2)): a thread that ends with
// a namespace would take the peers of other tests with it.
func TestNewNamespacesLeaveProcessesAlone(t *testing.T) {
	suite.Lab(t)
	for range 30 {
		p, err := lab.NewPair()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := p.Server.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		more, err := lab.NewPair()
		if err != nil {
			t.Fatal(err)
		}
		more.Close()
		p.Close()
		// Its death would be known by now, or is about to be.
		alive := true
		for i := 0; i < 5 && alive; i++ {
			q, ok := lab.ReadProcess(cmd.Process.Pid)
			alive = ok && q.State != 'Z'
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if !alive {
			t.Fatal("a process was killed by the end of the thread that made a namespace")
		}
	}
}
