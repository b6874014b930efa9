package launcher

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// furnishFiles gives the mount namespace its own resolver configuration and
// takes the resolver daemons of the host out of sight.
func furnishFiles(c *stageConfig, r *stageReport) error {
	// Slave: what the host mounts later still appears; nothing of ours leaves.
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return step("make the mounts our own", err)
	}
	files := etcFiles(c)
	if err := maskAll(files[0].content); err != nil {
		return step("mask the host's resolvers", err)
	}
	if c.KeepEtc {
		if err := closeKnobs(); err != nil {
			return step("close the kernel's knobs", err)
		}
	}
	showOwnLinks(r)
	if c.KeepEtc {
		if err := bindEtc(files); err != nil {
			return step("bind the resolver's files over those of /etc", err)
		}
	} else {
		how, err := furnishEtc(append(files, sshConfigs()...))
		if err != nil {
			return step("furnish /etc", err)
		}
		r.Notes = append(r.Notes, "/etc: "+how)
	}
	// Shared with the namespaces inside, root's and those that the command makes
	// as sandboxes do: what the keeper mounts appears there, locked.
	return step("share the mounts", unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
}

// An etcFile is a file that stands in /etc inside the namespace.
type etcFile struct {
	path    string // below /etc
	content string
	mode    os.FileMode
}

// etcFiles returns the resolver's files: names are asked where c says.
func etcFiles(c *stageConfig) []etcFile {
	nsswitch, _ := os.ReadFile("/etc/nsswitch.conf")
	return []etcFile{
		{"resolv.conf", resolvConf(c.DNS, c.Search), 0o644},
		{"nsswitch.conf", ownNsswitch(string(nsswitch)), 0o644},
	}
}

// resolvConf returns a resolv.conf(5). Without servers a resolver asks
// 127.0.0.1, where nobody answers: names fail at once.
func resolvConf(servers []netip.Addr, search []string) string {
	var b strings.Builder
	b.WriteString("# written by adit for this command's namespace\n")
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(servers) > 0 {
		b.WriteString("options edns0\n")
	}
	return b.String()
}

// ownNsswitch returns nsswitch.conf(5) with the hosts line replaced: only files
// and DNS, and the machine's own name if it was there. resolve, mdns and the
// like ask daemons of the host.
func ownNsswitch(content string) string {
	var b strings.Builder
	hosts := "hosts: files dns\n"
	for line := range strings.Lines(content) {
		name, rest, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) != "hosts" {
			b.WriteString(line)
			continue
		}
		for _, word := range strings.Fields(rest) {
			if word == "myhostname" {
				hosts = "hosts: files myhostname dns\n"
			}
		}
	}
	if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteByte('\n')
	}
	b.WriteString(hosts)
	return b.String()
}

// sshConfigs returns copies of ssh's included configuration. ssh refuses such a
// file unless root or the user owns it, and inside a user namespace root's files
// show a foreign owner; a copy is the user's own.
func sshConfigs() []etcFile {
	const dir = "ssh/ssh_config.d"
	entries, err := os.ReadDir("/etc/" + dir)
	if err != nil {
		return nil
	}
	var files []etcFile
	for _, e := range entries {
		path := dir + "/" + e.Name()
		if b, err := os.ReadFile("/etc/" + path); err == nil {
			files = append(files, etcFile{path, string(b), 0o644})
		}
	}
	return files
}
