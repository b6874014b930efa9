package e2e

import (
	"os"
	"strings"
	"testing"

	"adit/e2e/suite"
)

// ssh refuses an included configuration whose owner is neither root nor the user,
// and inside a user namespace root's files have another one.
func TestSSHAcceptsItsIncludedConfiguration(t *testing.T) {
	w := enter(t)
	suite.Need(t, "ssh")
	const dir, file = "/etc/ssh/ssh_config.d", "/etc/ssh/ssh_config.d/20-adit-e2e.conf" // of the lab's own /etc
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("Port 2222\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file) })
	if out := wantOK(t, w.plain("ssh", "-T", "-G", "host")); !strings.Contains(out, "\nport 2222\n") {
		t.Skip("this machine's ssh_config includes no folder: nothing to accept")
	}
	r := do(t, w.in(t, conf{}, "ssh", "-T", "-G", "host"))
	if r.code != 0 || !strings.Contains(r.stdout, "\nport 2222\n") {
		t.Errorf("ssh ends with status %d: %s", r.code, r.stderr)
	}
}
