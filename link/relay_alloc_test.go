//go:build !race

package link

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// TestRelayDoesNotAllocate: TUN read, split, merge, TUN write, of real TCP in both
// directions. A few allocations are the stream's own; there is none per packet.
func TestRelayDoesNotAllocate(t *testing.T) {
	for _, m := range deviceMakers {
		t.Run(m.name, func(t *testing.T) {
			a, z := newSpace(t), newSpace(t)
			relay(t, m.make(a, linux(), ownAddr("10.9.0.1", m)), m.make(z, linux(), ownAddr("10.9.0.2", m)))
			var l net.Listener
			z.do("listen", func() (err error) { l, err = net.Listen("tcp", "10.9.0.2:0"); return err })
			defer l.Close()
			var near net.Conn
			a.do("dial", func() (err error) {
				near, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
				return err
			})
			defer near.Close()
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			out, in := make([]byte, 1<<20), make([]byte, 1<<20)
			carry := func(megabytes int) uint64 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				go func() {
					for range megabytes {
						near.Write(out)
					}
				}()
				for range megabytes {
					if _, err := io.ReadFull(far, in); err != nil {
						t.Fatal(err)
					}
				}
				runtime.ReadMemStats(&after)
				return after.Mallocs - before.Mallocs
			}
			carry(2) // pools fill
			const megabytes = 16
			n := carry(megabytes)
			packets := megabytes << 20 / 1368
			t.Logf("%d allocations for %d packets", n, packets)
			if n > uint64(packets)/100 {
				t.Errorf("%d allocations for %d packets, want none for each", n, packets)
			}
		})
	}
}
