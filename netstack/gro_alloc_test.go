//go:build !race

package netstack

import (
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestStreamsHardlyAllocate holds both ends of a stream to a budget: gVisor has
// pools for what it makes of each packet, and super-packets are few.
func TestStreamsHardlyAllocate(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	accepted := make(chan net.Conn, 1) // the one connection
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	far := <-accepted
	if far == nil {
		t.Fatal("not accepted")
	}
	defer far.Close()
	buf, in := make([]byte, 256<<10), make([]byte, 256<<10)
	carry := func(mib int) {
		done := make(chan struct{}) // closed when all has arrived
		go func() {
			defer close(done)
			for left := mib << 20; left > 0; {
				n, err := far.Read(in[:min(left, len(in))])
				if err != nil {
					return
				}
				left -= n
			}
		}()
		for range mib * 4 {
			if _, err := c.Write(buf); err != nil {
				t.Error(err)
				return
			}
		}
		<-done
	}
	carry(64)                                        // buffers grow, pools fill
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties them
	const size = 64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	carry(size)
	runtime.ReadMemStats(&after)
	const budget = 100 // there are 740 packets in one, and their acknowledgements
	if n := (after.Mallocs - before.Mallocs) / size; n > budget {
		t.Errorf("%d allocations for each MiB, want at most %d", n, budget)
	} else {
		t.Logf("%d allocations for each MiB, %d bytes", n, (after.TotalAlloc-before.TotalAlloc)/size)
	}
}

// TestSmallQuestionsAllocateOncePerPacket: what is left is gVisor's, a list for
// each packet that leaves.
func TestSmallQuestionsAllocateOncePerPacket(t *testing.T) {
	p := newPair(t, Config{})
	l := mustListen(t, p.far, "tcp", ":80")
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for b := make([]byte, 64); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			c.Write(b[:n])
		}
	}()
	c := mustDial(t, p.near, "tcp", "192.0.2.1:80")
	b := make([]byte, 64)
	ask := func() {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		ask()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	// Two segments with data, and at most as many acknowledgements.
	if n := testing.AllocsPerRun(2000, ask); n > 5 {
		t.Errorf("%v allocations for a question and its answer, want at most 5", n)
	}
}
