package wg

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"adit/wg/wgtest"
)

// An elasticPipe is a Pipe whose MTU changes, as that of a TUN does by
// "ip link set mtu".
type elasticPipe struct {
	*wgtest.Pipe
	mtu atomic.Int64
}

func (p *elasticPipe) MTU() int { return int(p.mtu.Load()) }

// send.c, calculate_skb_padding asks for the MTU of each packet: padding that
// was right for the old one is too much, or too little, for the new.
func TestPaddingFollowsTheDevicesMTU(t *testing.T) {
	var pipe *elasticPipe
	bubblePair(t, func(t *testing.T, a *Engine, network *wgtest.Network, _, pipeB *wgtest.Pipe) {
		a.Ready(context.Background())
		synctest.Wait()
		var size atomic.Int64
		network.Tap(func(from, _ netip.AddrPort, d []byte) {
			if from == outsideA && messageType(d) == typeData {
				size.Store(int64(len(d)))
			}
		})
		defer network.Tap(nil)
		for _, c := range []struct{ mtu, packet, want int }{
			{1420, 1300, 1312}, // 16 × 82
			{1300, 1300, 1300}, // no farther than the MTU
			{1302, 1301, 1302},
			{65535, 2000, 2000}, // 16 × 125
			{1280, 1281, 1296},  // as if its last byte stood alone
		} {
			pipe.mtu.Store(int64(c.mtu))
			pipe.Send(toB(60)) // the read that waits is still of the old MTU
			pipeB.Receive(context.Background())
			pipe.Send(toB(c.packet))
			if pipeB.Receive(context.Background()) == nil {
				t.Fatal("no packet came")
			}
			if got := int(size.Load()) - minDataLen; got != c.want {
				t.Errorf("MTU %d: %d bytes were padded to %d, want %d", c.mtu, c.packet, got, c.want)
			}
		}
	}, func(c *Config) {
		pipe = &elasticPipe{Pipe: c.Device.(*wgtest.Pipe)}
		pipe.mtu.Store(1420)
		c.Device = pipe
	})
}
