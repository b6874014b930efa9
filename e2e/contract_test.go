package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"adit/e2e/services"
	"adit/e2e/suite"
)

func TestExitStatusIsTheCommands(t *testing.T) {
	w := enter(t)
	script := w.file(t, "not-executable", "#!/bin/sh\n", 0o644)
	for _, c := range []struct {
		name   string
		argv   []string
		code   int
		signal syscall.Signal
	}{
		{"success", []string{"true"}, 0, 0},
		{"42", []string{"sh", "-c", "exit 42"}, 42, 0},
		{"255", []string{"sh", "-c", "exit 255"}, 255, 0},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, -1, syscall.SIGKILL},
		{"terminated", []string{"sh", "-c", "kill -TERM $$"}, -1, syscall.SIGTERM},
		{"crashed", []string{"sh", "-c", "ulimit -c 0; kill -SEGV $$"}, -1, syscall.SIGSEGV},
		{"hung up", []string{"sh", "-c", "kill -HUP $$"}, -1, syscall.SIGHUP},
		{"not found", []string{"no-such-program"}, 127, 0},
		{"no such path", []string{"/no/such/program"}, 127, 0},
		{"not executable", []string{script}, 126, 0},
		{"a folder", []string{"/usr"}, 126, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := do(t, w.in(t, conf{}, c.argv...))
			if r.code != c.code || r.signal != c.signal {
				t.Errorf("got status %d signal %v, want %d and %v\nstderr: %s", r.code, r.signal, c.code, c.signal, r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("got stdout %q, want nothing", r.stdout)
			}
			if failed := c.code == 126 || c.code == 127; failed != strings.HasPrefix(r.stderr, "adit: error: ") {
				t.Errorf("got stderr %q", r.stderr)
			}
		})
	}
}

func TestShellSees137WhenTheCommandIsKilled(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	got := wantOK(t, w.plain("sh", "-c", `"$1" run -c "$2" -- sh -c 'kill -9 $$' 2>/dev/null; echo $?`, "sh", w.adit, file))
	if got != "137\n" {
		t.Errorf("got %q, want 137", got)
	}
}

// TestCommandFeelsAtHome runs the same script without and with adit and wants
// the same answers.
func TestCommandFeelsAtHome(t *testing.T) {
	w := enter(t)
	for _, c := range []struct{ name, before, script string }{
		{"ids", "", "id -u; id -g; id -un; id -gn"},
		{"umask", "umask 0127", "umask"},
		{"working directory", "cd /usr/share", "pwd; readlink /proc/self/cwd"},
		{"working directory below /etc", "cd /etc/ssl", "pwd; readlink /proc/self/cwd; ls"},
		{"/etc itself", "cd /etc", "pwd; ls passwd"},
		{"limits", "ulimit -S -n 513; ulimit -H -n 1111; ulimit -s 4096; ulimit -c 0; ulimit -u 3000", "ulimit -a; ulimit -Ha"},
		{"ignored signals", "trap '' HUP INT QUIT TERM PIPE USR1 TSTP TTOU CHLD", "grep -E '^Sig(Ign|Blk)' /proc/self/status"},
		{"no ignored signals", "", "grep -E '^Sig(Ign|Blk)' /proc/self/status"},
		{"niceness", "renice -n 5 $$ >/dev/null", "nice"},
		{"process group and session", "", `cut -d' ' -f5 /proc/self/stat | sed "s/^$(cut -d' ' -f5 /proc/$OUTER/stat)$/the same/"; cut -d' ' -f6 /proc/self/stat`},
		{"capabilities", "", "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status"},
		{"privileges", "", "grep NoNewPrivs /proc/self/status"},
		{"oom score", "", "cat /proc/self/oom_score_adj"},
		{"hostname", "", "uname -n"},
		{"new files", "umask 022", "f=$HOME/new-$$; touch $f; stat -c '%u %g %a' $f; rm $f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := conf{}.write(t, w)
			outer := "export OUTER=$$\n" + c.before + "\n"
			want := do(t, w.plain("bash", "-c", outer+`exec bash -c "$1"`, "bash", c.script))
			got := do(t, w.plain("bash", "-c", outer+`exec "$2" run -c "$3" -- bash -c "$1"`, "bash", c.script, w.adit, file))
			if got.stdout != want.stdout || got.code != want.code || got.stderr != want.stderr {
				t.Errorf("got  %q (%d) %s\nwant %q (%d) %s", got.stdout, got.code, got.stderr, want.stdout, want.code, want.stderr)
			}
		})
	}
}

// A blocked signal must stay blocked: sigprocmask(2) says that the mask
// survives execve.
func TestSignalMaskIsInherited(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	const script = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGWINCH]); os.execv(sys.argv[1], sys.argv[1:])"
	want := wantOK(t, w.plain("python3", "-c", script, "/bin/grep", "SigBlk", "/proc/self/status"))
	file := conf{}.write(t, w)
	wantStdout(t, w.plain("python3", "-c", script, w.adit, "run", "-c", file, "--", "grep", "SigBlk", "/proc/self/status"), want)
}

func TestEnvironmentIsUnchangedButForOurVariables(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	with := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Env, "EMPTY=", "SPACES= a  b ", "NEWLINE=a\nb", "BYTES=\xff\xfe", "ADIT_ACTIVE=stale", "ADIT_LOG=", "LD_PRELOAD=", "GODEBUG=madvdontneed=1", "GOGC=50")
		return cmd
	}
	lines := func(s string) []string {
		l := strings.Split(strings.TrimSuffix(s, "\x00"), "\x00")
		return slices.DeleteFunc(l, func(v string) bool {
			return strings.HasPrefix(v, "ADIT_ACTIVE=") || strings.HasPrefix(v, "ADIT_ADDRESS=")
		})
	}
	want := lines(wantOK(t, with(w.plain("env", "-0"))))
	out := wantOK(t, with(w.run("-c", file, "--", "env", "-0")))
	if got := lines(out); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !strings.Contains("\x00"+out, "\x00ADIT_ACTIVE=namespace\x00") {
		t.Errorf("ADIT_ACTIVE is not namespace in %q", out)
	}
	if a := clientAddresses(someClient); !strings.Contains(out, "ADIT_ADDRESS="+a[0].Addr().String()) {
		t.Errorf("ADIT_ADDRESS does not begin with %v in %q", a[0].Addr(), out)
	}
}

func TestConfigurationComesFromEverywhere(t *testing.T) {
	w := enter(t)
	text := conf{}.text(w)
	path := conf{}.write(t, w)
	address := []string{"printenv", "ADIT_ADDRESS"}
	want := wantOK(t, w.run(append([]string{"-c", path, "--"}, address...)...))
	t.Run("standard input", func(t *testing.T) {
		cmd := w.run(append([]string{"-c", "-", "--"}, address...)...)
		cmd.Stdin = strings.NewReader(text)
		r := do(t, cmd)
		// The command would share it, unless there is nothing more to read.
		if r.code != 0 && r.code != 125 || r.code == 0 && r.stdout != want {
			t.Errorf("got status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("a descriptor", func(t *testing.T) {
		wantStdout(t, w.plain("bash", "-c", `exec "$1" run --config-fd 9 -- printenv ADIT_ADDRESS 9<"$2"`, "bash", w.adit, path), want)
	})
	t.Run("a name", func(t *testing.T) {
		dir := filepath.Join(w.User.Home, ".config", "adit")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(filepath.Join(w.User.Home, ".config")) })
		if err := os.WriteFile(filepath.Join(dir, "office.conf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r := do(t, w.run(append([]string{"-c", "office", "--"}, address...)...))
		if r.code != 0 || r.stdout != want {
			t.Errorf("got status %d, stdout %q, stderr %q, want %q", r.code, r.stdout, r.stderr, want)
		}
	})
	t.Run("ADIT_CONFIG", func(t *testing.T) {
		cmd := w.run(append([]string{"--"}, address...)...)
		cmd.Env = append(cmd.Env, "ADIT_CONFIG="+path)
		wantStdout(t, cmd, want)
	})
	t.Run("ADIT_CONFIG_CONTENT, which the command does not see", func(t *testing.T) {
		cmd := w.run("--", "sh", "-c", "printenv ADIT_ADDRESS; printenv ADIT_CONFIG_CONTENT; exit 0")
		cmd.Env = append(cmd.Env, "ADIT_CONFIG_CONTENT="+text)
		wantStdout(t, cmd, want)
	})
}

func TestArgumentsAreByteExact(t *testing.T) {
	w := enter(t)
	argv := []string{"printf", `%s\0`, "", " ", "a b", "new\nline", "--", "-c", "\xff\xfe", "$HOME", "*"}
	want := wantOK(t, w.plain(argv...))
	wantStdout(t, w.in(t, conf{}, argv...), want)
}

func TestPipesAreByteExact(t *testing.T) {
	w := enter(t)
	var in bytes.Buffer
	in.ReadFrom(services.Stream(4, 20_000_000))
	want := bytes.Clone(in.Bytes())
	cmd := w.in(t, conf{}, "cat")
	cmd.Stdin = &in
	if got := wantOK(t, cmd); got != string(want) {
		t.Errorf("got %d bytes through cat, want the same %d", len(got), len(want))
	}
	cmd = w.in(t, conf{}, "sh", "-c", "cat >&2")
	cmd.Stdin = bytes.NewReader(want)
	if r := do(t, cmd); r.stderr != string(want) || r.stdout != "" {
		t.Errorf("got %d bytes on stderr and %d on stdout, want %d and 0", len(r.stderr), len(r.stdout), len(want))
	}
}

// The reader of a pipe may leave early, and a descriptor may be closed.
func TestUnusualDescriptorsAreTheCommands(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	for _, c := range []struct{ name, script, want string }{
		{"a reader that leaves", `"$1" run -c "$2" -- yes | head -n 1`, "y\n"},
		{"the status of a pipe that broke", `"$1" run -c "$2" -- yes | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}`, "141\n"},
		{"process substitution", `"$1" run -c "$2" -- cat <(echo one) <(echo two)`, "one\ntwo\n"},
		{"output substitution", `"$1" run -c "$2" -- tee >(cat) </dev/null; wait; echo done`, "done\n"},
		{"a descriptor by number", `exec 7<<<seven; "$1" run -c "$2" -- cat /dev/fd/7`, "seven\n"},
		{"a high descriptor", `exec 200<<<high; "$1" run -c "$2" -- bash -c 'cat <&200'`, "high\n"},
		// Go opens /dev/null in the place of a closed standard descriptor before
		// main: the least surprising of what may stand there.
		{"stdin closed", `"$1" run -c "$2" -- sh -c 'readlink /proc/$$/fd/0' <&-`, "/dev/null\n"},
		{"stdout closed", `"$1" run -c "$2" -- bash -c 'readlink /proc/$$/fd/1 >&2; :' 2>&1 >&-`, "/dev/null\n"},
		{"stdin from a file, half read", `{ read -r a; "$1" run -c "$2" -- cat; } < <(printf 'one\ntwo\n')`, "two\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantStdout(t, w.plain("bash", "-c", c.script, "bash", w.adit, file), c.want)
		})
	}
}

func TestNoDescriptorOfOursReachesTheCommand(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	numbers := func(s string) (n []string) {
		for l := range strings.Lines(s) {
			n = append(n, strings.Fields(l)[0])
		}
		slices.Sort(n)
		return n
	}
	plain := wantOK(t, w.plain("bash", "-c", `exec "$1" fds 5</dev/null`, "bash", w.probe))
	out := wantOK(t, w.plain("bash", "-c", `exec "$1" run -c "$2" -- "$3" fds 5</dev/null`, "bash", w.adit, file, w.probe))
	if got, want := numbers(out), numbers(plain); !slices.Equal(got, want) {
		t.Errorf("got %s\nwant the numbers of %s", out, plain)
	}
}

func TestStatusDescriptorSpeaksJSON(t *testing.T) {
	w := enter(t)
	r, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := w.run("-c", conf{}.write(t, w), "--status-fd", "3", "--", "sh", "-c", "readlink /proc/self/fd/3; exit 5")
	cmd.ExtraFiles = []*os.File{pw}
	res := do(t, cmd)
	pw.Close()
	if res.code != 5 || res.stdout != "" {
		t.Errorf("got status %d and stdout %q, want 5 and nothing: the command must not have the descriptor", res.code, res.stdout)
	}
	var events []string
	var exit map[string]any
	for d := json.NewDecoder(r); d.More(); {
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		exit = m
		text := fmt.Sprint(m)
		for _, e := range []string{"mode", "ready", "handshake", "down", "exit"} {
			if m["event"] == e || m["type"] == e || (m["event"] == nil && m["type"] == nil && strings.Contains(text, e)) {
				events = append(events, e)
				break
			}
		}
	}
	for _, want := range []string{"mode", "ready", "exit"} {
		if !slices.Contains(events, want) {
			t.Errorf("got events %q, want %q among them", events, want)
		}
	}
	if exit["origin"] != "command" {
		t.Errorf("the last line is %v, want origin command", exit)
	}
}

func TestCommandMayStartBeforeTheTunnel(t *testing.T) {
	w := enter(t)
	file := conf{endpoint: "10.77.0.1:9"}.write(t, w)
	wantStdout(t, w.run("-c", file, "--wait", "none", "--", "echo", "started"), "started\n")
}

func TestCommandWaitsForAServer(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	wantStdout(t, w.run("-c", file, "--wait", "tcp:10.9.0.1:80", "--", "echo", "started"), "started\n")
	if r := do(t, w.run("-c", file, "--wait", "tcp:10.9.0.1:81", "--wait-timeout", "1s", "--", "echo", "started")); r.code != 124 || r.stdout != "" {
		t.Errorf("nobody listens: got status %d, stdout %q, want 124\n%s", r.code, r.stdout, r.stderr)
	}
}

func TestShellIsTheUsers(t *testing.T) {
	w := enter(t)
	cmd := w.User.Command(w.adit, "shell", "-c", conf{}.write(t, w))
	cmd.Env = append(cmd.Env, "SHELL=/bin/sh")
	cmd.Stdin = strings.NewReader("echo $ADIT_ACTIVE\nexit 7\n")
	if r := do(t, cmd); r.code != 7 || r.stdout != "namespace\n" {
		t.Errorf("got status %d and stdout %q, want 7 and namespace\n%s", r.code, r.stdout, r.stderr)
	}
}

// adit inside adit: the second tunnel goes through the first.
func TestAditInsideAdit(t *testing.T) {
	w := enter(t)
	w.watch(t)
	inner := w.file(t, "inner.conf", conf{client: otherClient, endpoint: "198.51.100.1:51820"}.text(w), 0o600)
	a := clientAddresses(otherClient)[0].Addr()
	wantStdout(t, w.in(t, conf{}, w.adit, "run", "-c", inner, "--", w.probe, "get", pages[0]), a.String()+"\n")
}

// Two tunnels with different keys know nothing of each other.
func TestTwoTunnelsAtOnce(t *testing.T) {
	w := enter(t)
	w.watch(t)
	first := w.in(t, conf{}, "sh", "-c", `"$1" get "$2"; echo up; read x; exec "$1" get "$2"`, "sh", w.probe, pages[0])
	s := startStream(t, first)
	s.want("10.9.0.2")
	s.want("up")
	second := w.file(t, "second.conf", conf{client: otherClient}.text(w), 0o600)
	wantStdout(t, w.run("-c", second, "--", w.probe, "get", pages[0]), "10.9.0.4\n")
	s.send("\n")
	s.want("10.9.0.2")
	s.wantEnd(0)
}
