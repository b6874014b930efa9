package e2e

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/suite"
)

// fetch is a command that gets the pages, with a program that the mode covers, and
// prints the mode first.
func (s confinement) fetch(t *testing.T, w *world) []string {
	get := w.probe + " get"
	if s.mode == "preload" {
		suite.Need(t, "curl")
		get = "curl -sS -m 30"
	}
	return []string{"sh", "-c", `echo $ADIT_ACTIVE; exec ` + get + ` "$@"`, "sh", pages[0], pages[1], pages[2]}
}

// needLibrary skips a test of preload mode where adit was built without a C
// compiler.
func needLibrary(t *testing.T, w *world) {
	t.Helper()
	out, err := w.plain(w.adit, "doctor", "--json").Output()
	if strings.Contains(string(out), "built without a C compiler") {
		if suite.Required("preload") {
			t.Fatal("mode preload is required, and adit was built without a C compiler")
		}
		suite.Skip(t, "adit was built without a C compiler")
	}
	if err != nil {
		t.Fatalf("adit doctor: %v", err)
	}
}

// wantPages checks what fetch has printed.
func (s confinement) wantPages(t *testing.T, got string) {
	t.Helper()
	a := clientAddresses(someClient)
	program{name: s.name, want: s.mode + `\n` + pagesWant}.wantAs(t, got, a[0].Addr().String(), a[1].Addr().String())
}

// TestAutoTakesTheStrongestModeThatWorks: everywhere, the pages come through the
// tunnel and nothing else leaves the host; a mode below namespace is said in one
// line, unless -q.
func TestAutoTakesTheStrongestModeThatWorks(t *testing.T) {
	w := enter(t)
	for _, s := range confinements {
		if s.mode == "" {
			continue // TestWhereNoModeWorksAllReasonsAreGiven
		}
		t.Run(s.name, func(t *testing.T) {
			if s.mode == "preload" {
				needLibrary(t, w)
			}
			in := w.confined(t, s)
			w.watchMode(t, s.mode)
			file, argv := s.write(t, w), s.fetch(t, w)
			r := do(t, in(append([]string{w.adit, "run", "-c", file, "--"}, argv...)...))
			if r.code != 0 {
				t.Fatalf("got status %d (signal %v), want 0\n%s", r.code, r.signal, r.stderr)
			}
			s.wantPages(t, r.stdout)
			s.wantSaid(t, r.stderr)
			s.wantPages(t, wantOK(t, in(append([]string{w.adit, "run", "-q", "-c", file, "--"}, argv...)...)))
			s.wantPages(t, wantOK(t, in(append([]string{w.adit, "run", "--mode", s.mode, "-c", file, "--"}, argv...)...)))
		})
	}
}

// watchMode is watch for a mode: without namespaces connections are made on lo. UDP
// there is a leak all the same, and so is a question to the host's nameserver.
func (w *world) watchMode(t *testing.T, mode string) {
	t.Helper()
	if mode == "namespace" {
		w.watch(t)
		return
	}
	w.watch(t, oracle.AllowLoopbackTCP())
	t.Cleanup(func() {
		if asked := w.hostDNS.Asked(); len(asked) > 0 {
			t.Errorf("the host's nameserver was asked for %q, want nothing", asked)
		}
	})
}

// wantSaid wants the one line about a mode below namespace, and otherwise nothing.
func (s confinement) wantSaid(t *testing.T, stderr string) {
	t.Helper()
	if s.mode == "namespace" {
		if stderr != "" {
			t.Errorf("not silent: %s", stderr)
		}
		return
	}
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "adit: warning: mode "+s.mode+" is used, ") {
		t.Errorf("got %q, want one line that says which mode is used", stderr)
	}
}

// A doctorJSON is what of adit doctor --json is looked at.
type doctorJSON struct {
	Modes []struct {
		Mode, Detail, Reason string
		Works                bool
		Notes, Hints         []string
	}
}

// TestDoctorTellsEveryModeAndItsReason: what works is what auto would take, and what
// does not names the layer.
func TestDoctorTellsEveryModeAndItsReason(t *testing.T) {
	w := enter(t)
	for _, s := range confinements {
		t.Run(s.name, func(t *testing.T) {
			r := do(t, w.confined(t, s)(w.adit, "doctor", "--json"))
			var d doctorJSON
			if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
				t.Fatalf("%v\n%s\n%s", err, r.stdout, r.stderr)
			}
			first := ""
			for _, m := range d.Modes {
				if m.Works && first == "" {
					first = m.Mode
				}
				want := s.reasons[m.Mode]
				if m.Mode == "preload" && strings.Contains(m.Reason, "built without a C compiler") {
					want = "C compiler"
				}
				if m.Works != (want == "") || !strings.Contains(m.Reason, want) {
					t.Errorf("mode %s: got works %t, reason %q; want reason %q", m.Mode, m.Works, m.Reason, want)
				}
				if len(m.Notes) == 0 {
					t.Errorf("mode %s: not a word about what it does not promise", m.Mode)
				}
			}
			if first != s.mode && s.mode != "preload" {
				t.Errorf("the first that works is %q, want %q", first, s.mode)
			}
			if works := first != ""; works != (r.code == 0) {
				t.Errorf("got status %d, and mode %q works", r.code, first)
			}
		})
	}
}

// TestModeThatIsRefusedSaysWhy: asked for by name, a mode that does not work is
// refused with the layer and what to type, another mode with it if one works.
func TestModeThatIsRefusedSaysWhy(t *testing.T) {
	w := enter(t)
	for _, s := range confinements {
		for mode, reason := range s.reasons {
			t.Run(s.name+", "+mode, func(t *testing.T) {
				if mode == "preload" || s.mode == "preload" {
					needLibrary(t, w)
				}
				in, file := w.confined(t, s), s.write(t, w)
				r := do(t, in(w.adit, "run", "--mode", mode, "-c", file, "--", "echo", "started"))
				if r.code != 125 || r.stdout != "" {
					t.Errorf("got status %d and stdout %q, want 125 and nothing", r.code, r.stdout)
				}
				first, hints, _ := strings.Cut(r.stderr, "\n")
				if !strings.HasPrefix(first, "adit: error: mode "+mode+": ") || !strings.Contains(first, reason) {
					t.Errorf("got %q, want mode %s refused: %s", first, mode, reason)
				}
				other := "let another mode do it: adit run -c " + file + " --mode=" + s.mode + " -- echo started\n"
				if s.mode != "" && !strings.Contains(hints, other) {
					t.Errorf("got hints %q, want %q among them", hints, other)
				}
			})
		}
	}
}

func TestWhereNoModeWorksAllReasonsAreGiven(t *testing.T) {
	w := enter(t)
	needLibrary(t, w)
	for _, s := range confinements {
		if s.mode != "" {
			continue // TestAutoTakesTheStrongestModeThatWorks
		}
		r := do(t, w.confined(t, s)(w.adit, "run", "-c", s.write(t, w), "--", "echo", "started"))
		if r.code != 125 || r.stdout != "" {
			t.Errorf("%s: got status %d and stdout %q, want 125 and nothing", s.name, r.code, r.stdout)
		}
		w.wantOneError(t, r.stderr, []string{"no mode works here: namespace: ", "; seccomp: ", "; preload: "})
	}
}

// TestPreloadRefusesWhatItCannotCover: the command itself is refused before it
// starts, with 126 and a mode that covers it; what it starts later has no network.
func TestPreloadRefusesWhatItCannotCover(t *testing.T) {
	w := enter(t)
	needLibrary(t, w)
	w.watchMode(t, "preload")
	file := conf{}.write(t, w)
	r := do(t, w.run("--mode=preload", "-c", file, "--", w.probe, "get", pages[0]))
	if r.code != 126 || r.stdout != "" {
		t.Errorf("got status %d and stdout %q, want 126 and nothing", r.code, r.stdout)
	}
	w.wantOneError(t, r.stderr, []string{"static", "let another mode do it: adit run -c " + file + " --mode=namespace -- "})
	r = do(t, w.run("--mode=preload", "-c", file, "--", "sh", "-c", `"$1" get "$2"; exec "$1" get "$3"`, "sh", w.probe, pages[0], pages[2]))
	if r.code != 1 || r.stdout != "" {
		t.Errorf("a static program that the command starts: got status %d and stdout %q, want 1 and nothing\n%s", r.code, r.stdout, r.stderr)
	}
}

// Only a namespace shows another uid: nothing weaker is taken in its place.
func TestAsRootIsNotHadWithLess(t *testing.T) {
	w := enter(t)
	file := conf{}.write(t, w)
	for _, mode := range []string{"seccomp", "preload"} {
		r := do(t, w.run("--as-root", "--mode", mode, "-c", file, "--", "echo", "started"))
		if r.code != 125 || r.stdout != "" {
			t.Errorf("%s: got status %d and stdout %q, want 125 and nothing", mode, r.code, r.stdout)
		}
		w.wantOneError(t, r.stderr, []string{"--as-root needs mode namespace", "--mode=namespace"})
	}
	s := confinements[slices.IndexFunc(confinements, func(s confinement) bool { return s.name == "docker" })]
	r := do(t, w.confined(t, s)(w.adit, "run", "--as-root", "-c", file, "--", "echo", "started"))
	if r.code != 125 || r.stdout != "" || !strings.HasPrefix(r.stderr, "adit: error: mode namespace: ") {
		t.Errorf("auto: got status %d, stdout %q, stderr %q; want namespace refused", r.code, r.stdout, r.stderr)
	}
}

// What watchMode leaves out of sight is TCP on lo, and nothing else there.
func TestOracleThatAllowsLoopbackSeesTheRest(t *testing.T) {
	enter(t)
	o, err := oracle.Watch(endpoints, oracle.AllowLoopbackTCP())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for network, to := range map[string]string{
			"tcp": l.Addr().String(), "udp": l.Addr().String(), // nobody is there, and says so
		} {
			c, err := net.Dial(network, to)
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte("hello"))
			c.Close()
		}
	}
	c, err := net.Dial("tcp", lab.ServerV4.Addr().String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	r, err := o.Stop()
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Join(r.Leaks, "\n")
	for _, want := range []string{"UDP 127.0.0.1:", "UDP [::1]:", "TCP 10.77.0.2:"} {
		if !strings.Contains(seen, want) {
			t.Errorf("%s has not been seen in\n%s", want, seen)
		}
	}
	for _, no := range []string{"TCP 127.0.0.1:", "TCP [::1]:"} {
		if strings.Contains(seen, no) {
			t.Errorf("%s has been seen in\n%s", no, seen)
		}
	}
}

// A network namespace of the command's own, as a sandbox makes that is to have no
// network, has none: not the host's, and not the tunnel either.
func TestNamespaceOfTheCommandsOwnHasNoNetwork(t *testing.T) {
	w := enter(t)
	suite.Need(t, "unshare", "curl")
	if r := do(t, w.User.Command("unshare", "-rn", "true")); r.code != 0 {
		suite.Skip(t, "user namespaces: %s", r.stderr)
	}
	for _, mode := range withoutNamespace {
		t.Run(mode, func(t *testing.T) {
			if mode == "preload" {
				needLibrary(t, w)
			}
			w.watchMode(t, mode)
			get := []string{"curl", "-sS", "-m", "20", pages[0]}
			r := do(t, w.inMode(t, mode, append([]string{"unshare", "-r"}, get...)...))
			if r.code != 0 || r.stdout == "" {
				t.Errorf("in a user namespace only: got status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
			}
			r = do(t, w.inMode(t, mode, append([]string{"unshare", "-rn"}, get...)...))
			if r.code == 0 || r.stdout != "" {
				t.Errorf("in a network namespace: got status %d and stdout %q, want nothing", r.code, r.stdout)
			}
			if mode == "preload" {
				return // which has no UDP, and refuses the probe
			}
			for _, to := range []string{"10.9.0.1:7", "[fd09::1]:7"} {
				if r := do(t, w.inMode(t, mode, w.probe, "udp", to, "9", "9")); r.code != 0 {
					t.Errorf("UDP to %s: got status %d: %s", to, r.code, r.stderr)
				}
				if r := do(t, w.inMode(t, mode, "unshare", "-rn", w.probe, "udp", to, "9", "9")); r.code == 0 {
					t.Errorf("UDP to %s in a network namespace comes back", to)
				}
			}
		})
	}
}
