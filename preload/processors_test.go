package preload

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The shim's system calls are written out for each processor: where there is an
// emulator, a program for it runs with them.
func TestShimOfOtherProcessors(t *testing.T) {
	for _, p := range []struct{ goarch, gnu, qemu string }{
		{"arm64", "aarch64-linux-gnu", "qemu-aarch64"},
		{"riscv64", "riscv64-linux-gnu", "qemu-riscv64"},
	} {
		t.Run(p.goarch, func(t *testing.T) {
			cc, err := exec.LookPath(p.gnu + "-gcc")
			if err != nil {
				t.Skip(err)
			}
			qemu, err := exec.LookPath(p.qemu)
			if err != nil {
				t.Skip(err)
			}
			r := newRig(t)
			dir := filepath.Dir(r.shim)
			if text, err := exec.Command("make", "-C", "..", "preload", "CC="+cc, "SHIMS="+dir).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			shim, name := filepath.Join(dir, p.goarch+".so"), r.server.Name()
			b, err := os.ReadFile(shim)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(shim, bytes.Replace(b, []byte(placeholder), name[:], 1), 0o755); err != nil {
				t.Fatal(err)
			}
			probe := filepath.Join(dir, "probe")
			if text, err := buildProbe(cc, probe); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			run := func(args ...string) string {
				emulated := append([]string{qemu, "-L", "/usr/" + p.gnu, "-E", "LD_PRELOAD=" + shim, probe}, args...)
				return output(t, guardedCommand(emulated...))
			}
			wantOutput(t, "echo", run("echo", "www.test", "7"), "peer 10.9.0.1 7\nlocal 10.9.0.2\nread hello")
			wantOutput(t, "refused", run("echo", "10.9.0.1", "1"), "connect ECONNREFUSED")
			// The emulator takes what it cannot read for nothing.
			want := strings.Replace(smallThings, "nowhere EFAULT", "nowhere ENETUNREACH", 1)
			wantOutput(t, "small things", run("small", "10.9.0.1", "7"), want)
		})
	}
}
