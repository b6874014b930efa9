package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// TestWhatCannotWorkSaysSo: one error, hints, the right status, nothing on
// standard output, the command not started, no secret told, nothing left.
func TestWhatCannotWorkSaysSo(t *testing.T) {
	w := enter(t)
	private := w.clients[someClient].Private
	for _, c := range []struct {
		name    string
		conf    string
		options []string
		code    int
		says    []string // all of these
	}{
		{"a dead endpoint", conf{endpoint: "10.77.0.1:9"}.text(w), []string{"--wait-timeout", "1s"}, 124, []string{"10.77.0.1:9"}},
		{"a dead host", conf{endpoint: "10.77.0.200:51820"}.text(w), []string{"--wait-timeout", "1s"}, 124, []string{"10.77.0.200:51820"}},
		{"a dead endpoint by IPv6", conf{endpoint: "[fd77::1]:9"}.text(w), []string{"--wait-timeout", "1s"}, 124, []string{"[fd77::1]:9"}},
		{"a key that the peer does not know", conf{private: peer.NewKey().Private}.text(w), []string{"--wait-timeout", "1s"}, 124, []string{"10.77.0.1:51820"}},
		{"a peer with another key", conf{public: peer.NewKey().Public}.text(w), []string{"--wait-timeout", "1s"}, 124, []string{"10.77.0.1:51820"}},
		{"a wrong preshared key", strings.Replace(conf{client: pskClient}.text(w), w.psk, peer.NewPresharedKey(), 1), []string{"--wait-timeout", "1s"}, 124, []string{"10.77.0.1:51820"}},
		{"a name that does not resolve", conf{endpoint: "nowhere.test:51820"}.text(w), []string{"--wait-timeout", "1s"}, 125, []string{"nowhere.test"}},
		{"a malformed key", conf{private: private[:20]}.text(w), nil, 125, []string{":2: ", "PrivateKey"}},
		{"no peer", "[Interface]\nPrivateKey = " + private + "\nAddress = 10.9.0.2\n", nil, 125, []string{"Peer"}},
		{"an empty file", "", nil, 125, []string{"empty"}},
		{"a bad prefix", conf{allowed: "10.0.0.0/33"}.text(w), nil, 125, []string{"AllowedIPs", "10.0.0.0/33"}},
		{"AmneziaWG", conf{iface: "Jc = 4"}.text(w), nil, 125, []string{"Jc"}},
		{"an unknown option", conf{}.text(w), []string{"--no-such-option"}, 125, []string{"no-such-option"}},
		{"a secret in an argument", conf{}.text(w), []string{"--set", "interface.PrivateKey=" + private}, 125, []string{"PrivateKey"}},
		{"an unknown key with --strict", conf{iface: "Colour = green"}.text(w), []string{"--strict"}, 125, []string{"Colour"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := w.file(t, "wg0.conf", c.conf, 0o600)
			before := w.Snapshot()
			r := do(t, w.run(append(append([]string{"-c", file}, c.options...), "--", "echo", "started")...))
			if r.code != c.code {
				t.Errorf("got status %d (signal %v), want %d", r.code, r.signal, c.code)
			}
			if r.stdout != "" {
				t.Errorf("got stdout %q, want nothing", r.stdout)
			}
			w.wantOneError(t, r.stderr, c.says)
			if c.code == 124 && (r.took < time.Second || r.took > 4*time.Second) {
				t.Errorf("it took %v, want a second", r.took)
			}
			w.wantNothingSince(t, before)
		})
	}
}

// wantOneError wants one error line, then hints, and nothing else of adit's; and
// no key in it.
func (w *world) wantOneError(t *testing.T, stderr string, says []string) {
	t.Helper()
	first, rest, _ := strings.Cut(stderr, "\n")
	if !strings.HasPrefix(first, "adit: error: ") || strings.Contains(rest, "adit: error: ") {
		t.Errorf("want one error line first, got %q", stderr)
	}
	if !strings.Contains(rest, "adit: hint: ") {
		t.Errorf("want a hint, got %q", stderr)
	}
	for _, s := range says {
		if !strings.Contains(stderr, s) {
			t.Errorf("want %q in %q", s, stderr)
		}
	}
	for _, k := range append(w.clients, w.serverKey) {
		if strings.Contains(stderr, k.Private[:16]) || strings.Contains(stderr, w.psk) {
			t.Errorf("a secret key is told: %q", stderr)
		}
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	w := enter(t)
	for _, args := range [][]string{
		{"-c", "/no/such/file.conf", "--", "true"}, {"-c", "no-such-name", "--", "true"}, {"-c", "/etc", "--", "true"}, {"--", "true"},
		{"-c", filepath.Join(w.User.Home, "wg0.conf")},
	} {
		r := do(t, w.run(args...))
		if r.code != 125 {
			t.Errorf("%q: got status %d, want 125", args, r.code)
		}
		w.wantOneError(t, r.stderr, nil)
	}
}

func TestOneKeyIsOneTunnel(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	s := startStream(t, w.run("-c", file, "--", "sh", "-c", `echo up; read x; exec "$1" get "$2"`, "sh", w.probe, pages[0]))
	s.want("up")
	r := do(t, w.run("-c", file, "--", "echo", "started"))
	if r.code != 125 || r.stdout != "" {
		t.Errorf("got status %d and stdout %q, want 125 and nothing", r.code, r.stdout)
	}
	w.wantOneError(t, r.stderr, []string{"in use"})
	s.send("\n")
	s.want("10.9.0.2") // undisturbed
	s.wantEnd(0)
	wantOK(t, w.run("-c", file, "--", "true"))
}

// Hooks of a downloaded file never run.
func TestHooksNeverRun(t *testing.T) {
	w := enter(t)
	mark := filepath.Join(w.User.Home, "hook")
	hooks := ""
	for _, k := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		hooks += k + " = touch " + mark + "\n"
	}
	r := do(t, w.in(t, conf{iface: hooks}, "true"))
	if _, err := os.Stat(mark); err == nil {
		t.Error("a hook was run")
	}
	if n := strings.Count(r.stderr, "\n"); r.code != 0 || n != 1 || !strings.HasPrefix(r.stderr, "adit: warning: ") {
		t.Errorf("got status %d and stderr %q, want one warning", r.code, r.stderr)
	}
}

// The folder of run-time files may be missing or somebody else's.
func TestRuntimeFolderMayBeMissing(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	for _, c := range []struct{ name, value string }{{"unset", ""}, {"not there", "/nowhere/at/all"}, {"not ours", "/usr"}} {
		t.Run(c.name, func(t *testing.T) {
			cmd := w.run("-c", file, "--", "echo", "started")
			for i, v := range cmd.Env {
				if strings.HasPrefix(v, "XDG_RUNTIME_DIR=") {
					cmd.Env[i] = "XDG_RUNTIME_DIR=" + c.value
				}
			}
			if c.value == "" {
				cmd.Env = without(cmd.Env, "XDG_RUNTIME_DIR")
			}
			r := do(t, cmd)
			if r.code != 0 || r.stdout != "started\n" {
				t.Errorf("got status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
			}
		})
	}
	t.Cleanup(func() {
		if lab.AsRoot() { // else it is the caller's own
			os.RemoveAll(fmt.Sprintf("/tmp/adit-%d", w.User.UID))
		}
	})
}

func without(env []string, name string) (rest []string) {
	for _, v := range env {
		if !strings.HasPrefix(v, name+"=") {
			rest = append(rest, v)
		}
	}
	return rest
}
