package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// A program is one row of the matrix.
type program struct {
	name  string
	needs []string // programs that must be installed
	// argv returns the command. It may prepare files.
	argv func(t *testing.T, w *world) []string
	// want is what it prints, as a regular expression in which FROM4 and FROM6
	// stand for the client's addresses as the server sees them, and FROM for
	// either.
	want  string
	noDNS bool // it asks for no name
	asks  beyond
}

// A beyond is what a program asks for that a mode may lack.
type beyond string

const (
	staticOnly beyond = "static" // it has no libc to speak to: preload mode
	datagrams  beyond = "UDP"    // preload mode
	echoes     beyond = "ICMP"   // all modes without a namespace
)

// The pages that every HTTP client gets: by IPv4, by IPv6, and by name.
var pages = []string{
	fmt.Sprintf("http://%v/whoami", lab.ServiceV4),
	fmt.Sprintf("http://[%v]/whoami", lab.ServiceV6),
	"http://web.test/whoami",
}

const pagesWant = `FROM4\nFROM6\nFROM\n`

// fetches is a program that prints the pages it is given.
func fetches(name string, needs []string, argv ...string) program {
	return program{name: name, needs: needs, want: pagesWant, argv: func(t *testing.T, w *world) []string {
		return append(slices.Clone(argv), pages...)
	}}
}

// script is a program whose text is a file in testdata.
func script(name, file string, interpreter ...string) program {
	return program{name: name, needs: interpreter[:1], want: pagesWant, argv: func(t *testing.T, w *world) []string {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		return append(append(slices.Clone(interpreter), w.file(t, file, string(text), 0o644)), pages...)
	}}
}

// compiled is a C program linked statically.
func compiled(name, cc string) program {
	return program{name: name, needs: []string{cc}, want: pagesWant, asks: staticOnly, argv: func(t *testing.T, w *world) []string {
		out := filepath.Join(w.Dir, name)
		cmd := exec.Command(cc, "-static", "-O1", "-w", "-o", out, "testdata/fetch.c")
		if text, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(text), "cannot find -lc") {
				suite.Skip(t, "%s has no static libc", cc)
			}
			t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
		}
		t.Cleanup(func() { os.Remove(out) })
		return append([]string{out}, pages...)
	}}
}

func (w *world) sshArgs() []string {
	return []string{"ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
		"-o", "UserKnownHostsFile=" + w.knownHosts, "-i", w.sshKey}
}

// matrix is the programs of the issue, each as different from the others as its
// way into the network is: libc's resolver or its own, poll or threads, raw
// sockets, static or not.
var matrix = []program{
	fetches("curl", []string{"curl"}, "curl", "-sS", "-m", "30"),
	{name: "curl by https", needs: []string{"curl"}, want: `FROM\n`, argv: func(t *testing.T, w *world) []string {
		return []string{"curl", "-sS", "-m", "30", "--cacert", w.ca, "https://web.test/whoami"}
	}},
	fetches("wget", []string{"wget"}, "wget", "-q", "-T", "30", "-t", "1", "-O", "-"),
	{name: "git by http", needs: []string{"git"}, want: gitMessage + `\n`, argv: func(t *testing.T, w *world) []string {
		return gitClone(t, w, "http://web.test/git/repo.git", "")
	}},
	{name: "git by ssh", needs: []string{"git", "ssh"}, want: gitMessage + `\n`, argv: func(t *testing.T, w *world) []string {
		return gitClone(t, w, "e2e@web.test:repo.git", strings.Join(w.sshArgs(), " "))
	}},
	{name: "ssh", needs: []string{"ssh"}, want: `FROM\n`, argv: func(t *testing.T, w *world) []string {
		return append(w.sshArgs(), "e2e@web.test", "echo $SSH_CLIENT_ADDRESS")
	}},
	{name: "dig", needs: []string{"dig"}, asks: datagrams, want: `10\.9\.0\.1\nfd09::1\n`, argv: func(t *testing.T, w *world) []string {
		return []string{"dig", "+short", "+time=5", "+tries=2", "web.test", "A", "web.test", "AAAA"}
	}},
	{name: "getent", needs: []string{"getent"}, want: `fd09::1 +web\.test\n`, argv: func(t *testing.T, w *world) []string {
		return []string{"getent", "hosts", "web.test"}
	}},
	{name: "ping", needs: []string{"ping"}, asks: echoes, want: `(?s).* 3 received, 0% packet loss.*`, argv: func(t *testing.T, w *world) []string {
		return []string{"ping", "-4", "-c", "3", "-i", "0.2", "-W", "5", "web.test"}
	}},
	{name: "ping -6", needs: []string{"ping"}, asks: echoes, want: `(?s).* 3 received, 0% packet loss.*`, noDNS: true, argv: func(t *testing.T, w *world) []string {
		return []string{"ping", "-6", "-c", "3", "-i", "0.2", "-W", "5", lab.ServiceV6.String()}
	}},
	script("python urllib", "fetch.py", "python3"),
	script("python asyncio", "fetch_asyncio.py", "python3"),
	script("node", "fetch.mjs", "node"),
	script("java", "Fetch.java", "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"),
	script("perl", "fetch.pl", "perl"),
	{name: "static Go", asks: staticOnly, want: pagesWant, argv: func(t *testing.T, w *world) []string {
		return append([]string{w.probe, "get"}, pages...)
	}},
	compiled("static C of glibc", "cc"),
	compiled("static C of musl", "musl-gcc"),
}

// gitClone returns a command that clones and prints the message of the commit.
func gitClone(t *testing.T, w *world, url, ssh string) []string {
	dir := filepath.Join(w.User.Home, "clone")
	t.Cleanup(func() { os.RemoveAll(dir) })
	script := `git clone -q "$1" "$2" && git -C "$2" log --format=%s`
	if ssh != "" {
		script = "export GIT_SSH_COMMAND='" + ssh + "'; " + script
	}
	return []string{"sh", "-c", script, "sh", url, dir}
}

// wantAs checks what a program has printed. v4 and v6 are the client's
// addresses.
func (p program) wantAs(t *testing.T, got, v4, v6 string) {
	t.Helper()
	q4, q6 := regexp.QuoteMeta(v4), regexp.QuoteMeta(v6)
	want := strings.NewReplacer("FROM4", q4, "FROM6", q6, "FROM", "("+q4+"|"+q6+")").Replace(p.want)
	if !regexp.MustCompile(`^(` + want + `)$`).MatchString(got) {
		t.Errorf("%s: got %q, want %s", p.name, got, want)
	}
}

// TestProgramsUseTheTunnelAndNothingElse is the main job: each program works,
// the server sees it come out of the tunnel, and no other packet leaves the
// host.
func TestProgramsUseTheTunnelAndNothingElse(t *testing.T) {
	w := enter(t)
	for _, p := range matrix {
		t.Run(p.name, func(t *testing.T) {
			suite.Need(t, p.needs...)
			argv := p.argv(t, w)
			w.watch(t)
			a := clientAddresses(someClient)
			p.wantAs(t, wantOK(t, w.in(t, conf{}, argv...)), a[0].Addr().String(), a[1].Addr().String())
		})
	}
}
