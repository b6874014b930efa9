package launcher

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"adit/link"
	"adit/netstack"
	"adit/packet"
	"adit/wg"
)

// hostUnderlay is the host's network: UDP sockets of the namespace that adit was
// started in, and the host's resolver for the endpoints' names.
func (t *tunnel) hostUnderlay(listenPort uint16) *underlay {
	return &underlay{
		resolve: newResolver().lookup,
		room:    roomOnHost,
		watch:   link.WatchNetwork,
		holds:   link.Leads,
		listen: func() (wg.Transport, error) {
			udp, err := link.ListenUDP(link.UDPOptions{Port: listenPort, FallbackPort: true, DisableOffload: t.e.l.NoOffload, Logger: t.e.log})
			if err != nil {
				return nil, err
			}
			transport, err := t.captureOuter(udp)
			if err != nil {
				udp.Close()
			}
			return transport, err
		},
	}
}

// roomOnHost is underlay.room for the host's routes.
func roomOnHost(remote netip.AddrPort) int {
	m, err := link.PathMTU(remote)
	if err != nil {
		return 0
	}
	return m - overhead(remote.Addr())
}

// over is the network inside a carrier: a socket of its stack, and names asked
// through it, so that who carries the outer tunnel learns neither what the
// inner one's peer is called nor where it is.
func over(c *carrier) *underlay {
	return &underlay{
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			if a, err := netip.ParseAddr(host); err == nil {
				return []netip.Addr{a}, nil
			}
			return c.stack.LookupNetIP(ctx, "ip", host)
		},
		room: func(remote netip.AddrPort) int { return c.mtu - overhead(remote.Addr()) },
		listen: func() (wg.Transport, error) {
			pc, err := c.stack.ListenPacket(context.Background(), "udp", ":0")
			if err != nil {
				return nil, err
			}
			return &nested{pc.(netstack.PacketConn)}, nil
		},
	}
}

// A nested is the transport of a tunnel inside another one. It moves one datagram
// at a time, and leaves fragments to the stack below.
type nested struct{ pc netstack.PacketConn }

func (n *nested) Read(b *packet.Batch) error {
	b.Reset()
	size, from, err := n.pc.ReadFromUDPAddrPort(b.Slab())
	if err != nil {
		if errors.Is(err, net.ErrClosed) {
			return net.ErrClosed
		}
		return nil // about one datagram, refused somewhere on the way
	}
	b.Add(0, size, &packet.Path{Remote: from}, 0)
	return nil
}

func (n *nested) Write(b *packet.Batch) error {
	var first error
	for i := range b.Len() {
		pkt, way := b.Packet(i), b.Path(i)
		if len(pkt) == 0 || way == nil {
			continue
		}
		if _, err := n.pc.WriteToUDPAddrPort(pkt, way.Remote); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (n *nested) Overhead() int { return 0 }

func (n *nested) Close() error {
	if err := n.pc.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // closed before
}
