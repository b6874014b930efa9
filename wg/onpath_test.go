package wg

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"adit/packet"
)

// Who is on the way may send on what he sees in any order, as often as he likes,
// with forgeries of the same counters before and behind, all in one batch: each
// packet is taken once, and no forgery.
func TestABatchOfCopiesAndForgeriesGivesEachPacketOnce(t *testing.T) {
	for seed := range uint64(50) {
		w, a, b := newPair(t, 16)
		w.run(time.Second)
		r := rand.New(rand.NewPCG(seed, 2))
		in := packet.NewBatch(packet.Room{})
		var want [][]byte
		var sealed [][]byte
		for range 1 + r.IntN(packet.MaxPackets/4) {
			pkt := toB(60 + r.IntN(900))
			want = append(want, pkt)
			m := a.sealed(pkt)
			d := append([]byte(nil), m.Packet(0)...)
			forged := append([]byte(nil), d...)
			forged[headerLen+r.IntN(len(d)-headerLen)] ^= 1 << r.IntN(8)
			moved := append([]byte(nil), d...)
			moved[dataCounter+r.IntN(8)] ^= 1 << r.IntN(8)
			sealed = append(sealed, forged, d, d, moved)
		}
		r.Shuffle(len(sealed), func(i, j int) { sealed[i], sealed[j] = sealed[j], sealed[i] })
		for i, d := range sealed {
			copy(in.Append(len(d)), d)
			in.SetPath(i, &packet.Path{Remote: a.Addr()})
		}
		for range 2 {
			again := packet.NewBatch(packet.Room{})
			for i, d := range sealed {
				copy(again.Append(len(d)), d)
				again.SetPath(i, in.Path(i))
			}
			b.core.receive(w.now, again, b.out)
			b.deliver()
			for i := range again.Len() {
				pkt := again.Packet(i)
				if len(pkt) == 0 {
					continue
				}
				at := -1
				for k := range want {
					if bytes.Equal(want[k], pkt) {
						at = k
						break
					}
				}
				if at < 0 {
					t.Fatalf("seed %d: got a packet that was not sent, or once more", seed)
				}
				want = append(want[:at], want[at+1:]...)
			}
			if len(want) > 0 {
				t.Fatalf("seed %d: %d packets were lost to forgeries", seed, len(want))
			}
		}
	}
}
