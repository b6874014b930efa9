package wg

import (
	"net/netip"
	"time"

	"adit/packet"
)

const (
	icmpPerSecond = 100
	icmpBurst     = 50
)

// rejects collects answers for packets that have no way to go, so that their
// senders need not wait for a timeout (device.c, wg_xmit: host unreachable,
// address unreachable). A nil *rejects takes nothing. It belongs to the
// outbound goroutine.
type rejects struct {
	batch *packet.Batch
	now   Instant
	full  Instant // when the bucket that limits the answers is full again
}

// add answers pkt, if an ICMP error may be sent about it at all. The answer
// comes from the address that was not reached: we have none of our own.
func (r *rejects) add(pkt []byte) {
	if r == nil {
		return
	}
	const interval = time.Second / icmpPerSecond
	full := max(r.full, r.now).after(interval)
	if full > r.now.after(icmpBurst*interval) {
		return
	}
	code := uint8(packet.UnreachHost)
	if packet.Version(pkt) == 6 {
		code = packet.UnreachAddress6
	}
	var buf [packet.MaxUnreachable]byte
	msg := packet.AppendUnreachable(buf[:0], pkt, netip.Addr{}, code)
	if len(msg) == 0 {
		return
	}
	r.full = full
	copy(r.batch.Append(len(msg)), msg) // no space: as good as over the limit
}
