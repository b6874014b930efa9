package device

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"adit/packet"
)

// A source gives a packet of one byte for each that is sent to it.
type source chan byte

func (s source) Read(b *packet.Batch) error {
	v, ok := <-s
	if !ok {
		return net.ErrClosed
	}
	b.Reset()
	b.Append(1)[0] = v
	return nil
}

func (s source) Write(*packet.Batch) error { return nil }
func (s source) MTU() int                  { return DefaultMTU }
func (s source) Close() error              { close(s); return nil }

// readFrom reads once and returns what came, or the error, when it does.
func readFrom(g *gate) <-chan any {
	c := make(chan any, 1) // the one result
	go func() {
		b := packet.NewBatch(packet.Room{MTU: DefaultMTU})
		if err := g.Read(b); err != nil {
			c <- err
			return
		}
		c <- b.Packet(0)[0]
	}()
	return c
}

// device.c, wg_open: an interface that is up has its peers.
func TestPacketsWaitForTheNewsThatTheInterfaceIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := make(source, 3)
		g := newGate(s)
		s <- 1
		got := readFrom(g)
		synctest.Wait()
		if len(got) > 0 {
			t.Fatalf("got %v before the interface was known to be up", <-got)
		}
		g.set(true)
		if v := <-got; v != byte(1) {
			t.Fatalf("got %v, want the packet that waited", v)
		}
		s <- 2
		if v := <-readFrom(g); v != byte(2) {
			t.Fatalf("got %v, want the next packet", v)
		}
		g.Close()
	})
}

// wg_stop purges what waits.
func TestPacketsOfAnInterfaceThatWentDownAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := make(source, 3)
		g := newGate(s)
		s <- 1
		got := readFrom(g)
		time.Sleep(time.Hour)
		g.set(true)
		s <- 2
		if v := <-got; v != byte(2) {
			t.Fatalf("got %v, want the packet that came after", v)
		}
		g.Close()
	})
}

func TestCloseEndsWaitingAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := make(source, 3)
		g := newGate(s)
		s <- 1
		got := readFrom(g)
		synctest.Wait()
		g.Close()
		if err, _ := (<-got).(error); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("got %v, want %v", err, net.ErrClosed)
		}
	})
}
