package selftest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// A fault is what happens to a datagram on its way: it returns those that go on,
// in their order. toB says where. It is called by one goroutine at a time.
type fault func(r *rand.Rand, toB bool, datagram []byte) [][]byte

// A relay in the middle takes datagrams from each side and gives them to the
// other, with faults: what a network emulator does for netns.sh's kind. Its
// accidents are all from one seed.
type relay struct {
	t        *testing.T
	toA, toB *net.UDPConn
	b        netip.AddrPort
	fault    fault

	mu     sync.Mutex // guards the rest
	random *rand.Rand
	a      netip.AddrPort // where a was last
	passed int
	asked  int
}

// seed makes every run of the tests the same; change it to see others.
const seed = 20250101

// newRelay starts a relay, until the test ends.
func (w *world) newRelay(f fault) *relay {
	w.t.Helper()
	r := &relay{t: w.t, fault: f, random: rand.New(rand.NewPCG(seed, 0)), b: netip.MustParseAddrPort(v4.endpointB())}
	w.middle.do(func() (err error) {
		if r.toA, err = listen(middleA4); err == nil {
			r.toB, err = listen(middleB4)
		}
		return err
	})
	var running sync.WaitGroup
	running.Go(func() { r.pump(r.toA, true) })
	running.Go(func() { r.pump(r.toB, false) })
	w.t.Cleanup(func() {
		r.toA.Close()
		r.toB.Close()
		running.Wait()
	})
	return r
}

func listen(addr string) (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr+":0")))
	if err == nil {
		c.SetReadBuffer(4 << 20)
	}
	return c, err
}

// pump carries what arrives on c to the other side.
func (r *relay) pump(c *net.UDPConn, toB bool) {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		out, to := r.toB, r.b
		if toB {
			r.a = from
		} else {
			out, to = r.toA, r.a
		}
		onward := [][]byte{buf[:n]}
		r.asked++
		if r.fault != nil {
			onward = r.fault(r.random, toB, buf[:n])
		}
		r.passed += len(onward)
		for _, b := range onward {
			if to.IsValid() {
				out.WriteToUDPAddrPort(b, to)
			}
		}
		r.mu.Unlock()
	}
}

// between tells both sides to go by the relay.
func (r *relay) between(w *world) {
	w.t.Helper()
	w.a.set("peer %s endpoint %v", w.b.key.Public, r.toA.LocalAddr())
	w.b.set("peer %s endpoint %v", w.a.key.Public, r.toB.LocalAddr())
}

// forA returns where a finds the relay.
func (r *relay) forA() string { return r.toA.LocalAddr().String() }

// ratio returns how many datagrams came and how many were sent on.
func (r *relay) ratio() (asked, passed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked, r.passed
}

// inject sends a datagram of the relay's own.
func (r *relay) inject(c *net.UDPConn, to string, b []byte) {
	r.t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, netip.MustParseAddrPort(to)); err != nil {
		r.t.Fatal(err)
	}
}

// endpoint returns where d is for hosts beyond the middle.
func (d *device) endpoint(f family) string {
	if d.host.name == "a" {
		return f.choose(outsideA4, outsideA6, d.port)
	}
	return f.choose(outsideB4, outsideB6, d.port)
}

// forgedData returns a data message with an index and a counter that are
// possible, and no key (§5.4.6).
func forgedData() []byte {
	b := binary.LittleEndian.AppendUint32(nil, dataMessage)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint64(b, 100)
	return append(b, make([]byte, 16+96)...)
}

// distant keeps everything for a moment. wireguard-go arms the timer of its
// retransmission after it has sent an initiation (device/send.go,
// SendHandshakeInitiation): a response that is faster finds none to stop, and
// five seconds later there is another handshake. Who counts packets keeps the
// ends apart.
func distant(_ *rand.Rand, _ bool, b []byte) [][]byte {
	<-time.After(10 * time.Millisecond)
	return [][]byte{b}
}

// duplicate sends everything twice.
func duplicate(_ *rand.Rand, _ bool, b []byte) [][]byte { return [][]byte{b, b} }

// lose loses one of every so many, at random.
func lose(share float64) fault {
	return func(r *rand.Rand, _ bool, b []byte) [][]byte {
		if r.Float64() < share {
			return nil
		}
		return [][]byte{b}
	}
}

// reorder keeps datagrams back, up to depth of each direction, and lets go of
// any of them when another comes. Handshake messages are let pass: there is
// nothing behind them to push them.
func reorder(depth int) fault {
	kept := map[bool][][]byte{}
	return func(r *rand.Rand, toB bool, b []byte) [][]byte {
		if binary.LittleEndian.Uint32(b) != dataMessage {
			return [][]byte{b}
		}
		kept[toB] = append(kept[toB], append([]byte(nil), b...))
		list := kept[toB]
		if len(list) <= depth {
			return nil
		}
		i := r.IntN(len(list))
		out := list[i]
		list[i] = list[len(list)-1]
		kept[toB] = list[:len(list)-1]
		return [][]byte{out}
	}
}

func (r *relay) String() string {
	asked, passed := r.ratio()
	return fmt.Sprintf("seed %d, %d datagrams came, %d went on", seed, asked, passed)
}
