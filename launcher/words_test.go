package launcher

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adit/config"
	"adit/wg"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write testdata/messages.golden anew")

// Every error with its hints, as the user sees it, stands in
// testdata/messages.golden.
func TestEveryMessage(t *testing.T) {
	key, err := wg.ParsePublicKey("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=")
	if err != nil {
		t.Fatal(err)
	}
	const peer = "192.0.2.1:51820"
	again := againWith(nil, []string{"sh", "-c", "echo it's"})
	list := []*Error{
		errNoCommand(),
		errNotFound("nosuch"),
		errCannotExecute("/etc/passwd", &os.PathError{Op: "exec", Path: "/etc/passwd", Err: unix.EACCES}),
		errEngineLost(true, unix.WaitStatus(unix.SIGKILL)),
		errEngineLost(false, 2<<8),
		errTooFew("open files", 11, 26, hintFiles),
		doing("start a process", unix.EAGAIN),
		doing("start a process", unix.E2BIG),
		doing("start the engine", unix.ENFILE),
		doing("open /run/adit/key-0", unix.ENOSPC),
		errStageLost(),
		errKeyInUse(key),
		errUnresolved(config.Endpoint{Host: "vpn.invalid", Port: 51820}, fmt.Errorf("lookup vpn.invalid: no such host")),
		errNoHandshake(peer, 15*time.Second, 444, 0, key, again),
		errNoHandshake(peer, 15*time.Second, 444, 64, key, again),
		errNotAccepted("10.0.0.1:80", peer, 15*time.Second, again),
		doing("open the UDP socket", unix.EMFILE),
	}
	list = append(list, everyModeError(again)...)
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "adit: error: %v\n", e)
		for _, h := range e.Hints {
			fmt.Fprintf(&b, "adit: hint: %s\n", h)
		}
		fmt.Fprintf(&b, "exit status %d\n\n", e.Code)
	}
	fmt.Fprintf(&b, "adit: warning: %s\n", warnSocket(0))
	fmt.Fprintf(&b, "adit: warning: %s sleep (4711)\n", warnLeftovers)
	fmt.Fprintf(&b, "adit: warning: %s%v\n", warnFailed, unix.EBADF)
	for _, w := range everyModeWarning() {
		fmt.Fprintf(&b, "adit: warning: %s\n", w)
	}
	golden := filepath.Join("testdata", "messages.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the messages changed; if they should: go test ./launcher -run EveryMessage -update\ngot:\n%s", b.String())
	}
}

// Sentences stand in words*.go, where the test above hears them.
func TestNoErrorIsWordedElsewhere(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasPrefix(name, "words") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(b), "\n") {
			if strings.Contains(line, "failed(fmt.") || strings.Contains(line, "failed(errors.") ||
				strings.Contains(line, "&Error{Code: Code") {
				t.Errorf("%s:%d: an error is worded here: %s", name, n+1, strings.TrimSpace(line))
			}
		}
	}
}
