package e2e

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"adit/e2e/lab"
)

const resolvedSocket = "/run/systemd/resolve/io.systemd.Resolve"

// connectScript connects to the unix socket that is its argument.
const connectScript = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

// A listenerCount counts the connections to unix sockets.
type listenerCount struct {
	mu sync.Mutex // guards n
	n  map[string]int
}

func (c *listenerCount) asked(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
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

var _ = lab.Path
