package e2e

import (
	"fmt"
	"strings"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/services"
	"adit/e2e/suite"
)

// The switch for kernels that break segmentation or merging: everything works
// without, by either device, and -v says that both ends heard of it.
func TestTrafficWorksWithoutOffload(t *testing.T) {
	w := enter(t)
	suite.Need(t, "curl", "sha256sum")
	check := func(t *testing.T) {
		file := conf{}.write(t, w)
		for _, host := range []string{at(lab.ServiceV4), at(lab.ServiceV6)} {
			url := fmt.Sprintf("http://%s/bytes?size=%d&seed=1", host, big)
			r := do(t, w.run("--no-offload", "-v", "-c", file, "--", "sh", "-c", `curl -sS "$1" | sha256sum`, "sh", url))
			if want := services.StreamHash(1, big) + "  -\n"; r.code != 0 || r.stdout != want {
				t.Errorf("a download: status %d, got %q, want %q: %s", r.code, r.stdout, want, r.stderr)
			}
			for _, word := range []string{"offload of the device is switched off", "UDP segmentation offload is switched off"} {
				if !strings.Contains(r.stderr, word) {
					t.Errorf("-v does not say %q: %s", word, r.stderr)
				}
			}
			wantStdout(t, w.run("--no-offload", "-c", file, "--", w.probe, "udp", host+":7", "5000", "5000"), "all back\n")
		}
	}
	t.Run("tun", check)
	t.Run("veth", func(t *testing.T) { withVeth(t, check) })
}
