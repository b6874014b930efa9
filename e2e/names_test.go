package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"adit/e2e/lab"
	"adit/e2e/oracle"
	"adit/e2e/suite"

	"golang.org/x/sys/unix"
)

const resolvedSocket = "/run/systemd/resolve/io.systemd.Resolve"

// connectScript connects to the unix socket that is its argument.
const connectScript = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

// A listenerCount counts the connections to unix sockets.
type listenerCount struct {
	mu sync.Mutex // guards n
	n  map[string]int
}

// asked returns how many connections to path there were. One of its own, which is
// accepted last and closed once it is counted, makes sure of those before.
func (c *listenerCount) asked(path string) int {
	own, err := net.Dial("unix", path)
	if err == nil {
		own.Read(make([]byte, 1))
		own.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.n[path]--
	}
	return c.n[path]
}

// fakeResolvers puts the sockets of nscd and systemd-resolved on the host until
// the test is over. They hang up on everybody, and count.
func (w *world) fakeResolvers(t *testing.T) *listenerCount {
	t.Helper()
	c := &listenerCount{n: map[string]int{}}
	for _, path := range []string{"/run/nscd/socket", resolvedSocket} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { // ends when l is closed
			defer close(done)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				c.mu.Lock()
				c.n[path]++
				c.mu.Unlock()
				conn.Close()
			}
		}()
		t.Cleanup(func() {
			l.Close()
			<-done
			os.RemoveAll(filepath.Dir(path))
		})
	}
	return c
}

// lookups are programs that ask for a name in different ways. Each prints an
// address of the service.
var lookups = []struct {
	name string
	argv []string
}{
	{"libc", []string{"getent", "hosts", "web.test"}},
	{"libc, both families", []string{"getent", "ahosts", "web.test"}},
	{"Go", []string{"PROBE", "lookup", "web.test"}},
	{"dig", []string{"dig", "+short", "+time=3", "+tries=2", "web.test"}},
	{"python", []string{"python3", "-c", "import socket; print(socket.gethostbyname('web.test'))"}},
	{"ping", []string{"ping", "-4", "-n", "-c", "1", "-W", "3", "web.test"}},
	{"perl", []string{"perl", "-MSocket", "-e", "print inet_ntoa(scalar gethostbyname('web.test')), qq(\n)"}},
}

// wantLookups runs all lookups in the tunnel of c, and wants the tunnel's
// nameserver and nobody else to be asked.
func (w *world) wantLookups(t *testing.T, c conf) {
	t.Helper()
	for _, l := range lookups {
		t.Run(l.name, func(t *testing.T) {
			argv := slices.Clone(l.argv)
			if argv[0] == "PROBE" {
				argv[0] = w.probe
			}
			if argv[0] != w.probe {
				suite.Need(t, argv[0])
			}
			w.watch(t)
			w.tunnelDNS.Forget()
			out := wantOK(t, w.in(t, c, argv...))
			if !strings.Contains(out, "10.9.0.1") && !strings.Contains(out, "fd09::1") {
				t.Errorf("got %q, want the service's address", out)
			}
			if len(w.tunnelDNS.Asked()) == 0 {
				t.Error("the tunnel's nameserver was not asked")
			}
		})
	}
}

// setResolvConf replaces the host's /etc/resolv.conf until the test is over. To
// is put there by rename(2), as NetworkManager and resolved do.
func setResolvConf(t *testing.T, make func(path string) error) {
	t.Helper()
	put := func(make func(string) error) {
		const fresh = "/etc/resolv.conf.fresh"
		os.Remove(fresh)
		if err := make(fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, "/etc/resolv.conf"); err != nil {
			t.Fatal(err)
		}
	}
	put(make)
	t.Cleanup(func() {
		put(func(path string) error { return os.WriteFile(path, []byte(lab.ResolvConf), 0o644) })
	})
}

// TestNamesGoThroughTheTunnelWhateverTheHostUses: shapes of /etc/resolv.conf that
// distributions have.
func TestNamesGoThroughTheTunnelWhateverTheHostUses(t *testing.T) {
	w := enter(t)
	s := w.fakeResolvers(t)
	stub := func(t *testing.T, link string) {
		const dir = "/run/systemd/resolve"
		if err := os.WriteFile(dir+"/stub-resolv.conf", []byte("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		setResolvConf(t, func(path string) error { return os.Symlink(link, path) })
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T)
	}{
		{"a file", func(t *testing.T) {}},
		{"a link to resolved's stub", func(t *testing.T) { stub(t, "/run/systemd/resolve/stub-resolv.conf") }},
		{"a relative link", func(t *testing.T) { stub(t, "../run/systemd/resolve/stub-resolv.conf") }},
		{"a dangling link", func(t *testing.T) { stub(t, "/run/nowhere/resolv.conf") }},
		{"none", func(t *testing.T) {
			setResolvConf(t, func(path string) error { return os.WriteFile(path, nil, 0o644) })
			if err := os.Remove("/etc/resolv.conf"); err != nil {
				t.Fatal(err)
			}
		}},
		{"a mount, as in a container", w.mountInEtc},
		{"nsswitch with resolve and mymachines", func(t *testing.T) {
			old, err := os.ReadFile("/etc/nsswitch.conf")
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Replace(string(old), "hosts: files dns", "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns", 1)
			if err := os.WriteFile("/etc/nsswitch.conf", []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.WriteFile("/etc/nsswitch.conf", old, 0o644) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.prepare(t)
			w.wantLookups(t, conf{})
		})
	}
	for _, path := range []string{"/run/nscd/socket", resolvedSocket} {
		if n := s.asked(path); n > 0 {
			t.Errorf("%d connections to the host's %s, want none", n, path)
		}
	}
}

// mountInEtc mounts files of /etc over themselves, as containers have them.
func (w *world) mountInEtc(t *testing.T) {
	t.Helper()
	for _, name := range []string{"resolv.conf", "hosts"} {
		from, to := filepath.Join(w.Dir, name), "/etc/"+name
		text, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(from, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
	}
}

// Where parts of /etc are mounts, the host's is there under another name. The
// attempt host-resolv-conf of adit leaktest is about this.
func TestHostsNameserversAreNotShownWhereEtcHasMounts(t *testing.T) {
	w := enter(t)
	w.mountInEtc(t)
	r := do(t, w.in(t, conf{}, "cat", "/etc/.host/resolv.conf"))
	if r.code != 0 || !strings.HasPrefix(r.stdout, "# written by adit") {
		t.Errorf("got status %d and %q, %s", r.code, r.stdout, r.stderr)
	}
}

// The sockets of the host's resolvers are out of reach, not just unused.
func TestHostsResolverSocketsAreOutOfReach(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	s := w.fakeResolvers(t)
	for _, path := range []string{"/run/nscd/socket", "/var/run/nscd/socket", resolvedSocket} {
		if r := do(t, w.in(t, conf{}, "python3", "-c", connectScript, path)); r.code == 0 {
			t.Errorf("the command could connect to %s", path)
		}
	}
	if n := s.asked("/run/nscd/socket") + s.asked(resolvedSocket); n > 0 {
		t.Errorf("%d connections to the host's resolvers, want none", n)
	}
}

// What the host mounts while the command runs appears inside, and may be one more
// name of the resolvers' directories: it is masked there as well.
func TestHostsResolversAreMaskedWhereTheHostMountsThemLater(t *testing.T) {
	w := enter(t)
	suite.Need(t, "python3")
	if !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	w.fakeResolvers(t)
	// Shared, as all mounts are where systemd runs.
	chroot := filepath.Join(w.Dir, "later")
	dir := filepath.Join(chroot, "run")
	if err := errors.Join(os.MkdirAll(chroot, 0o755), unix.Mount("later", chroot, "tmpfs", 0, "mode=755"),
		unix.Mount("", chroot, "", unix.MS_SHARED, ""), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(chroot, unix.MNT_DETACH) })
	s := startStream(t, w.in(t, conf{}, "sh", "-c", `while read x; do ls "$1"; echo END; done; true`, "sh", dir+"/systemd/resolve"))
	s.send("\n")
	s.until("nothing yet", func(l string) bool { return l == "END" })
	if err := unix.Mount("/run", dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	masked := func() bool { // the files that stand in a mask, and not the socket
		var names []string
		s.send("\n")
		s.until("a list", func(l string) bool { names = append(names, l); return l == "END" })
		return slices.Contains(names, "stub-resolv.conf") && !slices.Contains(names, filepath.Base(resolvedSocket))
	}
	if !settle(20*time.Second, masked) {
		t.Errorf("%s is not masked", dir+"/systemd/resolve")
	}
	s.in.Close()
	s.wantEnd(0)
}

// TestResolvConfMayChangeDuringTheRun: what the host does to its own names is
// nothing to the command.
func TestResolvConfMayChangeDuringTheRun(t *testing.T) {
	w := enter(t)
	w.watch(t)
	s := startStream(t, w.in(t, conf{}, "sh", "-c", `while read x; do getent hosts web.test || echo FAILED; "$1" lookup web.test | head -n 1; grep -c 10.78 /etc/resolv.conf; done; true`, "sh", w.probe))
	look := func(when string) {
		t.Helper()
		w.tunnelDNS.Forget()
		s.send("\n")
		s.until("an address", func(l string) bool { return strings.HasPrefix(l, "fd09::1 ") })
		s.until("an address", func(l string) bool { return l == "10.9.0.1" || l == "fd09::1" })
		if n, _ := s.next(); n != "0" {
			t.Errorf("%s: /etc/resolv.conf names the host's nameserver", when)
		}
		if len(w.tunnelDNS.Asked()) == 0 {
			t.Errorf("%s: the tunnel's nameserver was not asked", when)
		}
	}
	look("at first")
	host := "nameserver 10.78.0.53\nsearch corp.test\n"
	setResolvConf(t, func(path string) error { return os.WriteFile(path, []byte(host), 0o644) })
	look("after a rename")
	setResolvConf(t, func(path string) error { return os.Symlink("/run/resolv.conf", path) })
	look("after a dangling link")
	if err := os.WriteFile("/run/resolv.conf", []byte(host), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove("/run/resolv.conf") })
	look("after the link's target has appeared")
	s.in.Close()
	s.wantEnd(0)
}

func TestNameserverThatIsNamedIsAskedThroughTheTunnel(t *testing.T) {
	w := enter(t)
	suite.Need(t, "dig")
	for _, c := range []struct{ name, server, want string }{
		{"the configured one", "", "tunnel"},
		{"another", "@198.51.100.1", "elsewhere"},
		{"another by IPv6", "@2001:db8:51::1", "elsewhere"},
		{"the stub of resolved", "@127.0.0.53", "tunnel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.watch(t)
			for _, transport := range []string{"+notcp", "+tcp"} {
				argv := []string{"dig", "+short", "+time=3", "+tries=1", transport, "who.test", "TXT"}
				if c.server != "" {
					argv = append(argv, c.server)
				}
				wantStdout(t, w.in(t, conf{}, argv...), fmt.Sprintf("%q\n", c.want))
			}
		})
	}
}

// An answer that does not fit is asked for again by TCP: RFC 7766.
func TestLongAnswersArrive(t *testing.T) {
	w := enter(t)
	suite.Need(t, "dig")
	w.watch(t)
	for _, server := range []string{"@10.9.0.1", "@127.0.0.53"} {
		got := wantOK(t, w.in(t, conf{}, "dig", "+short", "+time=3", "+noedns", server, "big.test", "TXT"))
		if n := strings.Count(got, "\n"); n != 4 {
			t.Errorf("%s: got %d texts, want 4: %s", server, n, got)
		}
	}
}

func TestDNSOptions(t *testing.T) {
	w := enter(t)
	suite.Need(t, "dig", "getent")
	file := conf{}.write(t, w)
	who := []string{"dig", "+short", "+time=3", "+tries=1", "who.test", "TXT"}
	t.Run("--dns IP", func(t *testing.T) {
		w.watch(t)
		wantStdout(t, w.run(append([]string{"-c", file, "--dns", "198.51.100.1", "--"}, who...)...), "\"elsewhere\"\n")
	})
	t.Run("--dns off", func(t *testing.T) {
		w.watch(t)
		if r := do(t, w.run("-c", file, "--dns", "off", "--", "getent", "hosts", "web.test")); r.code == 0 {
			t.Errorf("a name was resolved: %q", r.stdout)
		}
		if n := w.tunnelDNS.Asked(); len(n) > 0 {
			t.Errorf("the tunnel's nameserver was asked for %q", n)
		}
	})
	t.Run("--dns host", func(t *testing.T) {
		w.watch(t, oracle.AllowDNS(lab.NameserverV4))
		out := do(t, w.run("-c", file, "--dns", "host", "--", "getent", "hosts", "web.test"))
		if out.code != 0 || !strings.HasPrefix(out.stdout, "fd09::1") {
			t.Errorf("got status %d, %q, %s", out.code, out.stdout, out.stderr)
		}
		if len(w.hostDNS.Asked()) == 0 || len(w.tunnelDNS.Asked()) > 0 {
			t.Errorf("the host's nameserver was asked for %q and the tunnel's for %q", w.hostDNS.Asked(), w.tunnelDNS.Asked())
		}
	})
	t.Run("--dns-search", func(t *testing.T) {
		w.watch(t)
		got := wantOK(t, w.run("-c", file, "--dns-search", "corp.test", "--", "getent", "hosts", "web"))
		if !strings.HasPrefix(got, "fd09::1 ") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no DNS in the file", func(t *testing.T) {
		w.watch(t)
		r := do(t, w.in(t, conf{dns: "none"}, "getent", "hosts", "web.test"))
		if r.code == 0 {
			t.Errorf("a name was resolved: %q", r.stdout)
		}
		if n := strings.Count(r.stderr, "\n"); n != 1 || !strings.Contains(r.stderr, "DNS") {
			t.Errorf("want one warning about DNS, got %q", r.stderr)
		}
	})
}

// The same in the modes in which adit, or a resolver in the program, asks for the names:
// whom they ask is what --dns says, by either call.
func TestDNSOptionsWithoutANamespace(t *testing.T) {
	w := enter(t)
	suite.Need(t, "getent")
	file := conf{}.write(t, w)
	for _, mode := range withoutNamespace {
		if mode == "preload" {
			needLibrary(t, w)
		}
		for _, database := range []string{"hosts", "ahosts"} { // gethostbyname2 and getaddrinfo
			getent := func(name string, options ...string) result {
				w.tunnelDNS.Forget()
				return do(t, w.run(slices.Concat([]string{"--mode=" + mode, "-c", file}, options, []string{"--", "getent", database, name})...))
			}
			t.Run(mode+", "+database+", --dns off", func(t *testing.T) {
				w.watchMode(t, mode)
				if r := getent("web.test", "--dns", "off"); r.code == 0 {
					t.Errorf("a name was resolved: %q", r.stdout)
				}
				if n := w.tunnelDNS.Asked(); len(n) > 0 {
					t.Errorf("the tunnel's nameserver was asked for %q", n)
				}
			})
			t.Run(mode+", "+database+", --dns host", func(t *testing.T) {
				w.watch(t, oracle.AllowLoopbackTCP(), oracle.AllowDNS(lab.NameserverV4))
				r := getent("web.test", "--dns", "host")
				if r.code != 0 || !strings.Contains(r.stdout, "fd09::1") {
					t.Errorf("got status %d, %q, %s", r.code, r.stdout, r.stderr)
				}
				if len(w.hostDNS.Asked()) == 0 || len(w.tunnelDNS.Asked()) > 0 {
					t.Errorf("the host's nameserver was asked for %q and the tunnel's for %q", w.hostDNS.Asked(), w.tunnelDNS.Asked())
				}
			})
			t.Run(mode+", "+database+", --dns-search", func(t *testing.T) {
				w.watchMode(t, mode)
				r := getent("web", "--dns-search", "corp.test")
				switch mode {
				case "preload":
					if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "fd09::1") {
						t.Errorf("got status %d, %q, %s", r.code, r.stdout, r.stderr)
					}
				case "seccomp": // the program reads the host's resolv.conf
					if r.code == 0 || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "adit: warning: search domains ") {
						t.Errorf("got status %d, %q and %q, want one warning", r.code, r.stdout, r.stderr)
					}
				}
			})
		}
	}
}

func TestHostsFileOfTheHostIsUsed(t *testing.T) {
	w := enter(t)
	old, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/etc/hosts", append(slices.Clone(old), "10.9.0.1 fixed.test\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile("/etc/hosts", old, 0o644) })
	w.watch(t)
	// Of the other family there is no line, and glibc would ask.
	if got := wantOK(t, w.in(t, conf{}, "getent", "ahostsv4", "fixed.test")); !strings.HasPrefix(got, "10.9.0.1 ") {
		t.Errorf("got %q", got)
	}
	if asked := w.tunnelDNS.Asked(); len(asked) > 0 {
		t.Errorf("the nameserver was asked for %q", asked)
	}
}

// TestEndpointsNameIsTheOneThingAskedInClear.
func TestEndpointsNameIsTheOneThingAskedInClear(t *testing.T) {
	w := enter(t)
	w.watch(t, oracle.AllowDNS(lab.NameserverV4))
	out := wantOK(t, w.in(t, conf{endpoint: "peer.test:51820"}, w.probe, "get", "http://web.test/whoami"))
	if out != "10.9.0.2\n" && out != "fd09::2\n" {
		t.Errorf("got %q", out)
	}
	asked := w.hostDNS.Asked()
	for _, q := range asked {
		if q != "peer.test. TypeA" && q != "peer.test. TypeAAAA" {
			t.Errorf("the host's nameserver was asked for %q", q)
		}
	}
	if len(asked) == 0 || len(asked) > 2 {
		t.Errorf("the host's nameserver was asked %q, want A and AAAA of the endpoint once", asked)
	}
}
