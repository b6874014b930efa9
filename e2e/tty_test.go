package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/suite"

	"github.com/creack/pty"
)

// A terminal is a pseudo-terminal with a session of its own on it.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File

	mu   sync.Mutex // guards text and over
	text bytes.Buffer
	over bool
	more chan struct{} // one element: text or over has changed
	read int           // how much of text the test has consumed
}

// startTerminal starts cmd as the leader of a new session on a new terminal.
func startTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if err := pty.Setsize(master, &pty.Winsize{Rows: 33, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	if err := slave.Chown(cmdUID(cmd), -1); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := lab.Start(cmd); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, cmd: cmd, master: master, more: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() { // ends when the last process on the terminal has gone
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			term.mu.Lock()
			term.text.Write(buf[:n])
			term.over = err != nil
			term.mu.Unlock()
			select {
			case term.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		for _, p := range lab.Descendants(os.Getpid()) {
			if tty, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", p.PID)); tty == slave.Name() {
				if proc, err := os.FindProcess(p.PID); err == nil {
					proc.Kill()
				}
			}
		}
		master.Close()
		<-done
	})
	return term
}

func cmdUID(cmd *exec.Cmd) int {
	if c := cmd.SysProcAttr.Credential; c != nil {
		return int(c.Uid)
	}
	return os.Getuid()
}

// typed sends keys.
func (term *terminal) typed(keys string) {
	term.t.Helper()
	if _, err := term.master.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

// want waits until the terminal shows something after what was wanted last, and
// returns the submatches.
func (term *terminal) want(pattern string) []string {
	term.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(30 * time.Second)
	for {
		term.mu.Lock()
		fresh, over := term.text.String()[term.read:], term.over
		term.mu.Unlock()
		if m := re.FindStringSubmatchIndex(fresh); m != nil {
			term.read += m[1]
			return re.FindStringSubmatch(fresh)
		}
		if over {
			term.t.Fatalf("the session ended; want %q in %q", pattern, fresh)
		}
		select {
		case <-term.more:
		case <-timeout:
			term.t.Fatalf("want %q on the terminal, got %q", pattern, fresh)
		}
	}
}

// wantOver waits until nobody has the terminal open.
func (term *terminal) wantOver() {
	term.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		term.mu.Lock()
		over := term.over
		term.mu.Unlock()
		if over {
			return
		}
		select {
		case <-term.more:
		case <-timeout:
			term.t.Fatal("the session does not end")
		}
	}
}

// shell starts an interactive bash with ADIT and CONF set to the binary and a
// configuration.
func (w *world) shell(t *testing.T) *terminal {
	t.Helper()
	suite.Need(t, "bash")
	cmd := w.plain("bash", "--norc", "--noprofile", "-i")
	cmd.Env = append(cmd.Env, "PS1=ready> ", "ADIT="+w.adit, "CONF="+conf{}.write(t, w), "PROBE="+w.probe, "HISTFILE=")
	term := startTerminal(t, cmd)
	term.want(`ready> `)
	term.typed("bind 'set enable-bracketed-paste off' 2>/dev/null; stty -echo\n")
	term.want(`ready> `)
	return term
}

const interruptedScript = `
import select, sys, urllib.request
n = 0
word = "READY"
while True:
    try:
        print(word, n, flush=True)
        # Python looks at signals only between its own steps: one that comes just
        # before a read that blocks would wait for the read.
        while not select.select([sys.stdin], [], [], 0.1)[0]:
            pass
        line = sys.stdin.readline()
        break
    except KeyboardInterrupt:
        n, word = n + 1, "INTERRUPTED"
print("FROM", urllib.request.urlopen(sys.argv[1]).read().decode(), flush=True)
print("TOTAL", n, flush=True)
`

func TestCtrlCReachesPythonOnceAndTheNetworkLivesOn(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	script := w.file(t, "interrupted.py", interruptedScript, 0o644)
	for _, c := range []struct {
		name  string
		start func(t *testing.T) *terminal
		end   func(*terminal)
	}{
		{"adit leads the session", func(t *testing.T) *terminal {
			return startTerminal(t, w.in(t, conf{}, "python3", script, pages[0]))
		}, (*terminal).wantOver},
		{"adit is a job of a shell", func(t *testing.T) *terminal {
			term := w.shell(t)
			term.typed(fmt.Sprintf("$ADIT run -c $CONF -- python3 %s %s\n", script, pages[0]))
			return term
		}, func(term *terminal) { term.want("ready> ") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			term := c.start(t)
			term.want("READY")
			term.typed("\x03")
			term.want("INTERRUPTED 1")
			term.typed("\x03")
			term.want("INTERRUPTED 2")
			term.typed("go on\n")
			term.want(`FROM 10\.9\.0\.2`)
			if got := term.want(`TOTAL (\d+)`)[1]; got != "2" {
				t.Errorf("python was interrupted %s times by two Ctrl-C", got)
			}
			c.end(term)
		})
	}
}

func TestCtrlCEndsAnOrdinaryCommand(t *testing.T) {
	w := enter(t)
	term := w.shell(t)
	term.typed("$ADIT run -c $CONF -- sh -c 'echo STARTED; exec cat'; echo STATUS $?\n")
	term.want("STARTED")
	term.typed("\x03")
	// An interactive bash drops the rest of the line after a command that died
	// by SIGINT, so the status is asked for.
	term.want("ready> ")
	term.typed("echo STATUS $?\n")
	term.want(`STATUS 130\r`)
}

func TestStopAndContinueInAShell(t *testing.T) {
	w := enter(t)
	term := w.shell(t)
	term.typed("$ADIT run -c $CONF -- sh -c 'echo STARTED; while read x; do echo \"<$x>\"; $PROBE get " + pages[0] + "; done'\n")
	term.want("STARTED")
	term.typed("one\n")
	term.want("<one>")
	term.want(`10\.9\.0\.2`)
	for range 2 { // twice: a state that is not reset shows the second time
		term.typed("\x1a")
		term.want(`Stopped`)
		term.want(`ready> `)
		term.typed("jobs\n")
		term.want(`\[1\]\+?\s+Stopped`)
		term.want(`ready> `)
		term.typed("fg\n")
		term.want(`run -c`)
		term.typed("again\n")
		term.want("<again>")
		term.want(`10\.9\.0\.2`)
	}
	term.typed("\x04")
	term.want(`ready> `)
	term.typed("echo STATUS $?\n")
	term.want(`STATUS 0\r`)
}

func TestBackgroundAndForeground(t *testing.T) {
	w := enter(t)
	term := w.shell(t)
	term.typed("$ADIT run -c $CONF -- sh -c 'read x; echo \"<$x>\"' &\n")
	term.want(`\[1\] \d+`)
	term.typed("while ! jobs | grep -q Stopped; do read -t 0.05 </dev/zero; done; echo WAITS\n")
	term.want(`WAITS\r`) // reading the terminal stopped it: SIGTTIN
	term.want(`ready> `)
	term.typed("fg\n")
	term.want("run -c")
	term.typed("hello\n")
	term.want("<hello>")
	term.want("ready> ")
}

func TestTerminalIsTheCommandsOwn(t *testing.T) {
	w := enter(t)
	term := w.shell(t)
	term.typed("$ADIT run -c $CONF -- stty size; tty; $ADIT run -c $CONF -- tty\n")
	term.want(`33 120\r\n`)
	m := term.want(`(/dev/\S+)\r\n(/dev/\S+)\r\n`)
	if m[1] != m[2] {
		t.Errorf("the command's terminal is %s, the shell's %s", m[2], m[1])
	}
	term.want("ready> ")
	term.typed("$ADIT run -c $CONF -- sh -c 'test -t 0 && test -t 1 && test -t 2 && echo ALL; exec 3</dev/tty && echo OPEN'\n")
	term.want(`ALL\r\nOPEN`)
}

// What a program types into its terminal (TIOCSTI) the shell reads and executes,
// outside of the tunnel. Kernels may refuse it by themselves: dev.tty.legacy_tiocsti.
func TestCommandCannotTypeIntoTheShell(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	const script = "import fcntl, termios\nfor c in 'echo TY''PED\\n': fcntl.ioctl(0, termios.TIOCSTI, c)\n"
	file, err := w.User.WriteFile("type.py", script, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	term := w.shell(t)
	if b, err := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti"); err != nil || strings.TrimSpace(string(b)) == "1" {
		term.typed("python3 " + file + "\n")
		term.want(`TYPED\r\n`) // without adit it works
	}
	term.typed("$ADIT run -c $CONF -- python3 " + file + " 2>&1 | grep -o 'Input/output error'\n")
	term.want(`Input/output error\r\n`)
}

func TestResizeReachesTheCommandOnce(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	const script = `
import os, signal, sys
def resized(*_):
    os.write(1, b"SIZE %d %d\n" % os.get_terminal_size()) # print may be at work
signal.signal(signal.SIGWINCH, resized)
print("READY", flush=True)
sys.stdin.readline()
print("END", flush=True)
`
	term := startTerminal(t, w.in(t, conf{}, "python3", "-c", script))
	term.want("READY")
	begin := term.read
	if err := pty.Setsize(term.master, &pty.Winsize{Rows: 40, Cols: 90}); err != nil {
		t.Fatal(err)
	}
	term.want("SIZE 90 40")
	term.typed("\n")
	term.want("END")
	term.mu.Lock()
	defer term.mu.Unlock()
	if n := strings.Count(term.text.String()[begin:], "SIZE"); n != 1 {
		t.Errorf("the command was told %d times of one resize", n)
	}
}

// A program that sets the terminal to raw and dies leaves it to the shell to
// set it right, as without adit; one that ends well leaves it as it was.
func TestTerminalModesAreUntouched(t *testing.T) {
	w := enter(t)
	term := w.shell(t)
	term.typed("stty -g >$HOME/before; $ADIT run -c $CONF -- true; stty -g | cmp - $HOME/before && echo SAME\n")
	term.want(`SAME\r`)
}
