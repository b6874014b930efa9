package broker

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a connect on behalf costs beside the same through the Dialer alone.
func BenchmarkConnect(b *testing.B) {
	w := newStreamWorld(b)
	w.echo("7")
	b.Run("dialer", func(b *testing.B) {
		for b.Loop() {
			c, err := w.b.cfg.Dialer.DialContext(context.Background(), "tcp", "10.9.0.1:7")
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	for _, nonblock := range []bool{false, true} {
		name := "blocking"
		if nonblock {
			name = "nonblocking"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := w.socket(unix.AF_INET, nonblock)
				errno := s.connect("10.9.0.1:7")
				if nonblock && errno == unix.EINPROGRESS {
					errno = ok
					if s.poll(unix.POLLOUT, 10*time.Second) != unix.POLLOUT {
						errno = unix.ETIMEDOUT
					}
				}
				s.close()
				if errno != ok {
					b.Fatal(errno)
				}
			}
		})
	}
}
