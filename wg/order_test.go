package wg_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"adit/link"
	"adit/packet"
	"adit/wg"
	"adit/wg/wgtest"
)

// crowds carries two Crowds between two engines over loopback, one each way, and
// returns what came of them. plain says which sockets have no offloads.
func crowds(t *testing.T, bytes int, plain [2]bool, between func(wg.Transport) wg.Transport) [2]wgtest.CrowdTally {
	t.Helper()
	loopback := netip.MustParseAddr("127.0.0.1")
	there, back := wgtest.NewCrowd(1, bytes), wgtest.NewCrowd(2, bytes)
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	keyA, keyB := wg.NewPrivateKey(), wg.NewPrivateKey()
	var sockets [2]*link.UDP
	for i := range sockets {
		var err error
		if sockets[i], err = link.ListenUDP(link.UDPOptions{Addr: loopback, DisableOffload: plain[i]}); err != nil {
			t.Fatal(err)
		}
	}
	peer := func(k wg.PrivateKey, at *link.UDP) []wg.Peer {
		return []wg.Peer{{PublicKey: k.Public(), AllowedIPs: all, Endpoint: wg.Endpoint{Host: loopback.String(), Port: at.LocalPort()}}}
	}
	configs := [2]wg.Config{
		{PrivateKey: keyA, Device: there.Device(1420, back), Peers: peer(keyB, sockets[1])},
		{PrivateKey: keyB, Device: back.Device(1420, there), Peers: peer(keyA, sockets[0])},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for i, cfg := range configs {
		cfg.Transport = between(sockets[i])
		e, err := wg.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- e.Run(ctx) }()
	}
	timeout := time.After(20 * time.Second)
	for _, c := range []*wgtest.Crowd{there, back} {
		select {
		case <-c.Done():
		case <-timeout: // what was lost is not sent again; the tally says how much
		}
	}
	cancel()
	for range configs {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return [2]wgtest.CrowdTally{there.Tally(), back.Tally()}
}

// TestOrderOfAFlowIsKept: nothing that makes the way faster, batches, offloads,
// merging, lets one packet of a flow overtake another; and where nothing needs
// to be lost nothing is. Both directions are busy at once.
func TestOrderOfAFlowIsKept(t *testing.T) {
	for _, plain := range [][2]bool{{}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			for _, got := range crowds(t, 8<<20, plain, func(tr wg.Transport) wg.Transport { return tr }) {
				t.Logf("%+v", got)
				if got.Early != 0 || got.Late != 0 || got.Damaged != 0 || got.Arrived != got.Sent {
					t.Errorf("%d packets came too early, %d too late, %d damaged, %d were lost; want none",
						got.Early, got.Late, got.Damaged, got.Sent-got.Arrived)
				}
				if got.Supers == 0 || got.Sent < 5000 {
					t.Errorf("%d packets, and %d merged pieces: the test is wrong", got.Sent, got.Supers)
				}
			}
		})
	}
}

// The control: the same with a transport that lets some overtake.
func TestPacketsThatOvertakeAreCounted(t *testing.T) {
	shuffle := func(tr wg.Transport) wg.Transport {
		return &shuffler{Transport: tr, rng: rand.New(rand.NewPCG(3, 0))}
	}
	for _, got := range crowds(t, 2<<20, [2]bool{}, shuffle) {
		if got.Early == 0 || got.Late == 0 {
			t.Errorf("%d packets came early and %d late, though some were made to: want more than none", got.Early, got.Late)
		}
		if got.Arrived != got.Sent || got.Damaged != 0 {
			t.Errorf("%d of %d packets came, %d of them damaged: want all, whatever their order", got.Arrived, got.Sent, got.Damaged)
		}
	}
}

// A shuffler exchanges two datagrams of every batch.
type shuffler struct {
	wg.Transport
	rng *rand.Rand
}

func (s *shuffler) Write(b *packet.Batch) error {
	if n := b.Len(); n > 1 {
		i := s.rng.IntN(n - 1)
		off, size := b.Offset(i), len(b.Packet(i))
		b.SetPacket(i, b.Offset(i+1), len(b.Packet(i+1)))
		b.SetPacket(i+1, off, size)
	}
	return s.Transport.Write(b)
}
