package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"adit/config"
	"adit/launcher"
)

// launched runs adit with args and fails the test if it did not get as far as the
// launcher.
func launched(t *testing.T, args ...string) launcher.Options {
	t.Helper()
	s := call{args: args, env: map[string]string{"SHELL": "/bin/zsh"}}.run(t)
	if s.failure != nil {
		t.Fatalf("adit %s: got error %v, want none", strings.Join(args, " "), s.failure)
	}
	return s.options
}

func TestOptionsEndAtTheCommand(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	for _, tt := range []struct{ args, want string }{
		{"run -c wg0.conf curl -v --mtu x", "curl -v --mtu x"},
		{"run -c wg0.conf -- curl -v", "curl -v"},
		{"run -c wg0.conf -- -c", "-c"},
		{"run -c wg0.conf c", "c"},
		{"run --config=wg0.conf help", "help"},
		{"run -c wg0.conf sh -- -x", "sh -- -x"},
		{"run -c wg0.conf -4 --strict -- --", "--"},
		{"run -c wg0.conf - x", "- x"},
		{"run -c wg0.conf env --help", "env --help"},
		{"shell -c wg0.conf", "/bin/zsh"},
	} {
		if got := strings.Join(launched(t, strings.Fields(tt.args)...).Argv, " "); got != tt.want {
			t.Errorf("adit %s: got command %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestOptionsReachTheLauncher(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": strings.Replace(goodConf, "DNS", "#adit: mtu = 1300\n#adit: wait = none\nMTU = 1400\nDNS", 1)})
	show := func(o launcher.Options) string {
		c := o.Config
		return fmt.Sprintln(c.MTU, c.DNS, c.DNSSearch, c.Options.Mode, c.Options.DNSMode, c.Options.Wait, c.Options.WaitTimeout,
			c.Options.IPv4Only, o.AsRoot, o.StopTimeout, o.PcapInner, o.PcapOuter, o.StatusFD, o.LogLevel, o.LogFormat, o.Quiet)
	}
	for _, tt := range []struct{ args, want string }{
		{"", "1300 [10.0.0.1] []  file none 0s false false 0s   -1 WARN text false"},
		{"--mtu 1280 --wait handshake --wait-timeout 3", "1280 [10.0.0.1] []  file handshake 3s false false 0s   -1 WARN text false"},
		{"--dns 10.9.9.9,10.9.9.8 --dns-search a.example --dns-search b", "1300 [10.9.9.9 10.9.9.8] [a.example b]  file none 0s false false 0s   -1 WARN text false"},
		{"--dns host --mode namespace -4 --as-root", "1300 [10.0.0.1] [] namespace host none 0s true true 0s   -1 WARN text false"},
		{"--stop-timeout 2s --pcap outer=o,inner=i --status-fd 7", "1300 [10.0.0.1] []  file none 0s false false 2s i o 7 WARN text false"},
		{"--stop-timeout 0 -v --log-format json", "1300 [10.0.0.1] []  file none 0s false false 1ns   -1 INFO json false"},
		{"-vv", "1300 [10.0.0.1] []  file none 0s false false 0s   -1 DEBUG text false"},
		{"-q --set interface.DNS=corp.example,10.0.0.7", "1300 [10.0.0.7] [corp.example]  file none 0s false false 0s   -1 ERROR text true"},
	} {
		args := append([]string{"run", "-c", "wg0.conf"}, append(strings.Fields(tt.args), "true")...)
		if got := strings.TrimSuffix(show(launched(t, args...)), "\n"); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.args, got, tt.want)
		}
	}
}

func TestConfigurationComesFromTheNamedPlace(t *testing.T) {
	at := func(address string) string { return strings.Replace(goodConf, "10.0.0.2", address, 1) }
	inFolder(t, map[string]string{"file.conf": at("10.0.0.10"), "env.conf": at("10.0.0.11"), "adit.d": ""})
	if err := os.MkdirAll("x/adit", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("x/adit/work.conf", []byte(at("10.0.0.12")), 0o600); err != nil {
		t.Fatal(err)
	}
	here, _ := os.Getwd()
	content := at("10.0.0.13")
	fd, err := syscall.Open("env.conf", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, args string
		env        map[string]string
		stdin      string
		want       string
	}{
		{"a file", "-c file.conf", nil, "", "10.0.0.10"},
		{"a name", "-c work", map[string]string{"XDG_CONFIG_HOME": here + "/x"}, "", "10.0.0.12"},
		{"standard input", "-c -", nil, at("10.0.0.14"), "10.0.0.14"},
		{"a descriptor", fmt.Sprintf("--config-fd %d", fd), nil, "", "10.0.0.11"},
		{"ADIT_CONFIG", "", map[string]string{"ADIT_CONFIG": "env.conf"}, "", "10.0.0.11"},
		{"a flag goes before the environment", "-c file.conf", map[string]string{"ADIT_CONFIG": "env.conf", "ADIT_CONFIG_CONTENT": content}, "", "10.0.0.10"},
		{"the text in the environment", "", map[string]string{"ADIT_CONFIG_CONTENT": content}, "", "10.0.0.13"},
		{"its base64", "", map[string]string{"ADIT_CONFIG_CONTENT": base64.StdEncoding.EncodeToString([]byte(content))}, "", "10.0.0.13"},
		{"base64 with line ends", "", map[string]string{"ADIT_CONFIG_CONTENT": base64.StdEncoding.EncodeToString([]byte(content))[:40] + "\n" + base64.StdEncoding.EncodeToString([]byte(content))[40:]}, "", "10.0.0.13"},
	} {
		args := append(append([]string{"run"}, strings.Fields(tt.args)...), "true")
		s := call{args: args, env: tt.env, stdin: tt.stdin}.run(t)
		if s.failure != nil {
			t.Errorf("%s: got error %v, want none", tt.name, s.failure)
			continue
		}
		if got := s.options.Config.Addresses[0].Addr().String(); got != tt.want {
			t.Errorf("%s: got the configuration of %s, want that of %s", tt.name, got, tt.want)
		}
	}
	// The number may have been given to another file since.
	if target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); filepath.Base(target) == "env.conf" {
		t.Error("the descriptor of --config-fd is still open: the command would inherit it")
	}
}

func TestContentIsNotLeftInTheEnvironment(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	t.Setenv("ADIT_CONFIG_CONTENT", goodConf)
	call{args: []string{"run", "-c", "wg0.conf", "true"}, env: map[string]string{}}.run(t)
	if _, ok := os.LookupEnv("ADIT_CONFIG_CONTENT"); ok {
		t.Error("the command would find the configuration in its environment")
	}
}

func TestResultOfTheCommandIsOurs(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	want := launcher.Result{Code: 137, Signal: 9}
	s := call{args: []string{"run", "-c", "wg0.conf", "true"}, launch: func(launcher.Options) (launcher.Result, error) {
		return want, nil
	}}.run(t)
	if s.result != want {
		t.Errorf("got %v, want %v", s.result, want)
	}
	if s.err != "" || s.out != "" {
		t.Errorf("got words %q and %q, want none on success", s.out, s.err)
	}
}

func TestQuietSilencesWarnings(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf + "Colour = blue\n"})
	warn := func(o launcher.Options) (launcher.Result, error) {
		o.Notify(launcher.Notice{Kind: launcher.Warning, Text: "something"})
		return launcher.Result{}, nil
	}
	loud := call{args: []string{"run", "-c", "wg0.conf", "true"}, launch: warn}.run(t).err
	if want := "adit: warning: wg0.conf:9: Colour: is not a key of wg-quick: ignored\nadit: warning: something\n"; loud != want {
		t.Errorf("got %q, want %q", loud, want)
	}
	if quiet := (call{args: []string{"run", "-q", "-c", "wg0.conf", "true"}, launch: warn}).run(t).err; quiet != "" {
		t.Errorf("with -q: got %q, want nothing", quiet)
	}
}

func TestLevelOfTheEnvironmentYieldsToTheFlag(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	env := map[string]string{"ADIT_LOG": "debug"}
	for _, tt := range []struct {
		args []string
		want slog.Level
	}{
		{[]string{"run", "-c", "wg0.conf", "true"}, slog.LevelDebug},
		{[]string{"run", "-v", "-c", "wg0.conf", "true"}, slog.LevelInfo},
	} {
		if got := (call{args: tt.args, env: env}).run(t).options.LogLevel; got != tt.want {
			t.Errorf("%v: got level %v, want %v", tt.args, got, tt.want)
		}
	}
}

func TestDoctorReportsWhatTheProbeFound(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": strings.Replace(goodConf, "10.0.0.1\n", "10.0.0.1\nTable = off\n", 1)})
	modes := []launcher.ModeReport{
		{Mode: "namespace", Covers: "everything", Notes: []string{"not all"}, Reason: "mode namespace: clone: operation not permitted", Hints: []string{"adit setup apparmor --print | sudo sh"}},
		{Mode: "seccomp", Covers: "most", Notes: []string{"others can look"}, Works: true, Detail: "notify"},
		{Mode: "preload", Covers: "some", Notes: []string{"no UDP"}, Works: true},
	}
	s := call{args: []string{"doctor", "-c", "wg0.conf"}, modes: modes}.run(t)
	want := `mode namespace: no
  covers: everything
  why: clone: operation not permitted
  hint: adit setup apparmor --print | sudo sh
mode seccomp: works, is used
  covers: most
  how: notify
  note: others can look
mode preload: works
  covers: some
  note: no UDP
configuration wg0.conf: can be used
  note: wg0.conf:5: Table: is the host's business: ignored
`
	if s.out != want || s.result.Code != 0 {
		t.Errorf("got status %d and\n%s\nwant 0 and\n%s", s.result.Code, s.out, want)
	}
	s = call{args: []string{"doctor", "--json"}, modes: modes[:1]}.run(t)
	wantJSON := `{
  "modes": [
    {
      "mode": "namespace",
      "covers": "everything",
      "notes": [
        "not all"
      ],
      "works": false,
      "reason": "clone: operation not permitted",
      "hints": [
        "adit setup apparmor --print | sudo sh"
      ]
    }
  ]
}
`
	if s.out != wantJSON || s.result.Code != 1 {
		t.Errorf("got status %d and\n%s\nwant 1 and\n%s", s.result.Code, s.out, wantJSON)
	}
}

// A configuration that asks for a mode is run in that mode or not at all.
func TestDoctorKnowsTheModeThatAConfigurationAsksFor(t *testing.T) {
	inFolder(t, map[string]string{
		"auto.conf":    goodConf + "#adit: mode = auto\n",
		"preload.conf": goodConf + "#adit: mode = preload\n",
		"seccomp.conf": strings.Replace(goodConf, privateKey, otherKey, 1) + "#adit: mode = seccomp\n",
	})
	modes := []launcher.ModeReport{{Mode: "namespace", Works: true}, {Mode: "seccomp", Reason: "mode seccomp: EBUSY"}, {Mode: "preload", Works: true}}
	for _, tt := range []struct {
		args, used, text string
		code             int
	}{
		{"", "namespace", "mode namespace: works, is used\n", 0},
		{"-c auto.conf", "namespace", "mode namespace: works, is used\n", 0},
		{"-c preload.conf", "preload", "mode preload: works, is used\n", 0},
		{"-c seccomp.conf -c preload.conf", "preload", "mode preload: works, is used\n", 0}, // the outer one's is not the command's
		{"-c seccomp.conf", "", "mode seccomp: no, and the configuration asks for it\n", 1},
		{"-c seccomp.conf", "", "mode seccomp does not work here: adit would not run any command with this configuration\n", 1},
	} {
		s := call{args: strings.Fields("doctor " + tt.args), modes: modes}.run(t)
		uses := strings.Count(s.out, "is used")
		if s.result.Code != tt.code || s.failure != nil || !strings.Contains(s.out, tt.text) || uses != 1-tt.code {
			t.Errorf("%s: got status %d, %v and\n%s\nwant %d and %q", tt.args, s.result.Code, s.failure, s.out, tt.code, tt.text)
		}
		s = call{args: strings.Fields("doctor --json " + tt.args), modes: modes}.run(t)
		var r doctorReport
		if err := json.Unmarshal([]byte(s.out), &r); err != nil || r.Used != tt.used || s.result.Code != tt.code {
			t.Errorf("%s --json: got status %d, mode %q, %v, want %d and %q", tt.args, s.result.Code, r.Used, err, tt.code, tt.used)
		}
	}
}

func TestSetReachesTheConfiguration(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": goodConf})
	o := launched(t, "run", "-c", "wg0.conf", "--set", "peer[1].AllowedIPs=10.0.0.0/8,fd00::/8", "--set", "peer["+peerKey+"].PersistentKeepalive=9", "true")
	p := o.Config.Peers[0]
	if got := fmt.Sprint(p.AllowedIPs); got != "[10.0.0.0/8 fd00::/8]" || p.Keepalive != 9*time.Second {
		t.Errorf("got %s and %v, want both prefixes and 9 s", got, p.Keepalive)
	}
	if o.Config.Options != (config.Options{}) {
		t.Errorf("got options %+v, want none", o.Config.Options)
	}
	if !slices.Equal(o.Argv, []string{"true"}) {
		t.Errorf("got command %q", o.Argv)
	}
}

func TestDoctorPrintsTheModesThoughAConfigurationIsBad(t *testing.T) {
	inFolder(t, map[string]string{
		"wg0.conf": goodConf,
		"bad.conf": strings.Replace(goodConf, "0.0.0.0/0", "10.0.0.0/33", 1),
	})
	modes := []launcher.ModeReport{{Mode: "namespace", Covers: "everything", Works: true}}
	for _, args := range []string{"-c bad.conf -c wg0.conf", "-c wg0.conf -c bad.conf"} {
		s := call{args: strings.Fields("doctor " + args), modes: modes}.run(t)
		if !strings.Contains(s.out, "mode namespace: works, is used\n") || !strings.Contains(s.out, "configuration wg0.conf: can be used\n") {
			t.Errorf("%s: got %q, want the modes and the good configuration", args, s.out)
		}
		if !strings.Contains(s.err, "bad.conf:7: AllowedIPs") || !strings.Contains(s.err, "adit check -c bad.conf") {
			t.Errorf("%s: got %q on standard error, want what is wrong with bad.conf", args, s.err)
		}
	}
}

func TestWhereNobodyCanBeCalledRunSaysThatItDoesNotWait(t *testing.T) {
	inFolder(t, map[string]string{"wg0.conf": strings.Replace(goodConf, "Endpoint = 192.0.2.1:51820\n", "", 1)})
	want := "adit: warning: wg0.conf: no peer has an Endpoint: the command starts without a handshake\n"
	if s := (call{args: strings.Fields("run -c wg0.conf true")}).run(t); s.err != want {
		t.Errorf("got %q, want %q", s.err, want)
	}
	if s := (call{args: strings.Fields("run -c wg0.conf --wait none true")}).run(t); s.err != "" {
		t.Errorf("--wait none: got %q, want nothing", s.err)
	}
}

func TestShellWordsAreTypedSoThatAShellReadsThemBack(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"curl", "https://example.com"}, "curl https://example.com"},
		{[]string{"sh", "-c", "echo $HOME; it's"}, `sh -c 'echo $HOME; it'\''s'`},
		{[]string{"~", "", "a*"}, `'~' '' 'a*'`},
		{[]string{"a\nb"}, ""}, // a terminal would not show it as it is
		{[]string{"a\x1b[2J"}, ""},
		{[]string{"a\u202eb"}, ""},
	} {
		if got := shellWords(tt.argv); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.argv, got, tt.want)
		}
	}
}
