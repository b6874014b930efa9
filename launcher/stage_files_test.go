package launcher

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestHostsAreAskedOfFilesAndDNSOnly(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"no file", "", "hosts: files dns\n"},
		{"resolve and mdns go, the rest stays",
			"passwd: files systemd\nhosts: mymachines mdns4_minimal [NOTFOUND=return] resolve dns\ngroup: files\n",
			"passwd: files systemd\ngroup: files\nhosts: files dns\n"},
		{"the machine's own name stays", "hosts:\tfiles resolve [!UNAVAIL=return] myhostname dns\n", "hosts: files myhostname dns\n"},
		{"no newline at the end", "passwd: files", "passwd: files\nhosts: files dns\n"},
		{"two hosts lines", "hosts: dns\nhosts: resolve\n", "hosts: files dns\n"},
	}
	for _, tt := range tests {
		if got := ownNsswitch(tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestResolvConfWithoutServersNamesNone(t *testing.T) {
	const head = "# written by adit for this command's namespace\n"
	if got := resolvConf(nil, nil); got != head {
		t.Errorf("got %q", got)
	}
	got := resolvConf([]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, []string{"a.test", "b.test"})
	want := head + "nameserver 10.0.0.1\nnameserver fd00::1\nsearch a.test b.test\noptions edns0\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The copy of links must show every entry of /etc but the replaced ones.
func TestLinkEntriesReplacesAndLinks(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, f := range []string{"hosts", "resolv.conf", "ssh/ssh_config", "ssh/ssh_config.d/10-a.conf", "ssh/ssh_config.d/b", "apt/x"} {
		path := filepath.Join(from, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("host's "+f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("hosts", filepath.Join(from, "alias")); err != nil {
		t.Fatal(err)
	}
	files := []etcFile{{"resolv.conf", "ours", 0o644}, {"ssh/ssh_config.d/10-a.conf", "ours", 0o644}}
	if err := os.Symlink(from, filepath.Join(to, hostEtc)); err != nil {
		t.Fatal(err)
	}
	if err := linkEntries(from, to, hostEtc, files); err != nil {
		t.Fatal(err)
	}
	if err := writeEtc(to, files); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"hosts":                      "host's hosts",
		"alias":                      "host's hosts",
		"resolv.conf":                "ours",
		"ssh/ssh_config":             "host's ssh/ssh_config",
		"ssh/ssh_config.d/10-a.conf": "ours",
		"ssh/ssh_config.d/b":         "host's ssh/ssh_config.d/b",
		"apt/x":                      "host's apt/x",
	} {
		if got, err := os.ReadFile(filepath.Join(to, path)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", path, got, err, want)
		}
	}
	if link, _ := os.Readlink(filepath.Join(to, "alias")); link != "hosts" {
		t.Errorf("a link of /etc became %q, want it verbatim", link)
	}
}
