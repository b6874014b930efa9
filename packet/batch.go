package packet

import "net/netip"

const (
	// SlabSize is the size of a batch's slab in bytes: two of the largest
	// datagrams the kernel hands over in one piece.
	SlabSize = 2 * 65536

	// MaxPackets is the most packets one Batch describes. A super-packet with
	// more segments takes several batches.
	MaxPackets = 128
)

// Room says how much space a batch keeps around each packet that is appended
// to it, so that a header and a tag can be added without moving anything:
//
//	[ Head | packet n | 0 … padding | Tail ][ Head | packet …
//	       ^ off      ^ off+n       ^ off+Padded(n)
//
// When every packet of a run has the same size, the sealed datagrams lie
// behind each other without a gap and leave with one system call.
type Room struct {
	Head  int // bytes before each packet
	Tail  int // bytes behind the padded packet
	Align int // a packet is padded to a multiple of Align bytes. If zero, 1
	MTU   int // padding does not carry a packet beyond MTU bytes. If zero, no limit
}

// Padded returns the size to which a packet of n bytes is padded: n rounded up
// to a multiple of Align, but not beyond MTU. A packet of more than MTU bytes
// is padded as if its last n mod MTU bytes stood alone, as the kernel does.
func (r Room) Padded(n int) int {
	if r.Align <= 1 {
		return n
	}
	last := n
	if r.MTU > 0 && n > r.MTU {
		last = n % r.MTU
	}
	padded := (last + r.Align - 1) / r.Align * r.Align
	if r.MTU > 0 && padded > r.MTU {
		padded = r.MTU
	}
	return n - last + padded
}

// A Path is the way of a datagram on the sealed side: the far end, and the
// address of ours that it was sent to or has to leave from. A Path does not
// change once made: parts keep and compare the pointer, and compare the values
// only when the pointers differ.
type Path struct {
	Remote  netip.AddrPort // the far end
	Local   netip.Addr     // our address; the zero Addr lets the kernel choose
	IfIndex uint32         // interface of Local; 0 lets the kernel choose
	Arrived uint32         // interface where a datagram came in, which sends nothing; 0: unknown
}

// HasSource reports whether p says where to leave from.
func (p *Path) HasSource() bool { return p.Local.IsValid() || p.IfIndex != 0 }

// Equal reports whether p and q are the same way. Either may be nil.
func (p *Path) Equal(q *Path) bool {
	return p == q || p != nil && q != nil && *p == *q
}

// A span is one packet of a batch: where it lies in the slab, and, on the
// sealed side, its way and the traffic class of its outer header.
type span struct {
	off, n int32
	path   *Path
	tos    uint8
}

// A Batch is a slab and the packets that lie in it, in order. Who reads fills
// one; who writes may change it; nobody keeps it after returning. A packet of
// zero bytes in a batch has been dropped by someone on the way: skip it.
//
// A Batch is used by one goroutine at a time.
type Batch struct {
	room Room
	slab []byte
	n    int // packets
	end  int // first byte of the slab that no packet's room covers
	pkts [MaxPackets]span
}

// NewBatch returns an empty batch with its slab, that keeps r around each
// appended packet.
func NewBatch(r Room) *Batch {
	return &Batch{room: r, slab: make([]byte, SlabSize)}
}

// Room returns the space kept around each appended packet.
func (b *Batch) Room() Room { return b.room }

// SetRoom changes the space kept around packets appended from now on.
func (b *Batch) SetRoom(r Room) { b.room = r }

// Share makes b an empty batch over the slab of other, whose packets can then be
// described by Add: a part of other, in what order one likes. A slab of b's own
// is given up; b does not outlive the use of other.
func (b *Batch) Share(other *Batch) {
	b.slab = other.slab
	b.Reset()
}

// Reset empties the batch. The slab's bytes stay what they are.
func (b *Batch) Reset() { b.n, b.end = 0, 0 }

// Free returns how many bytes of the slab lie behind the last packet's room.
func (b *Batch) Free() int { return len(b.slab) - b.end }

// Len returns the number of packets, dropped ones included.
func (b *Batch) Len() int { return b.n }

// Slab returns all of the batch's memory, for those who fill it: the splitter
// and the receiver of datagrams. Packets are then described by Add.
func (b *Batch) Slab() []byte { return b.slab }

// Append reserves the next packet of n bytes with the room around it and
// returns its bytes, whose content is arbitrary. It returns nil when the
// batch has no more space for it.
func (b *Batch) Append(n int) []byte {
	off := b.end + b.room.Head
	end := off + b.room.Padded(n) + b.room.Tail
	if b.n == MaxPackets || end > len(b.slab) {
		return nil
	}
	b.pkts[b.n] = span{off: int32(off), n: int32(n)}
	b.n++
	b.end = end
	return b.slab[off : off+n : off+n]
}

// Add describes a packet of n bytes that lies at off in the slab already. It
// reports whether the batch had a place for it.
func (b *Batch) Add(off, n int, path *Path, tos uint8) bool {
	if b.n == MaxPackets {
		return false
	}
	b.pkts[b.n] = span{off: int32(off), n: int32(n), path: path, tos: tos}
	b.n++
	b.end = max(b.end, off+n)
	return true
}

// Packet returns the bytes of packet i. Empty: it was dropped.
func (b *Batch) Packet(i int) []byte {
	p := &b.pkts[i]
	return b.slab[p.off : p.off+p.n : p.off+p.n]
}

// Offset returns where in the slab packet i begins.
func (b *Batch) Offset(i int) int { return int(b.pkts[i].off) }

// SetPacket says that packet i now lies at off and has n bytes: a header was
// put before it or taken off, padding was cut.
func (b *Batch) SetPacket(i, off, n int) {
	b.pkts[i].off, b.pkts[i].n = int32(off), int32(n)
}

// Drop takes packet i out of the batch: its length becomes zero, the places
// of the others do not change.
func (b *Batch) Drop(i int) { b.pkts[i].n = 0 }

// Path returns the way of datagram i, nil if none was set.
func (b *Batch) Path(i int) *Path { return b.pkts[i].path }

// SetPath sets the way of datagram i.
func (b *Batch) SetPath(i int, p *Path) { b.pkts[i].path = p }

// TOS returns the traffic class of datagram i's outer header: the byte that IPv4
// calls type of service. Its upper six bits are the DSCP (RFC 2474 §3), its
// lower two the ECN field (RFC 3168 §5).
func (b *Batch) TOS(i int) uint8 { return b.pkts[i].tos }

// SetTOS sets the traffic class of datagram i's outer header.
func (b *Batch) SetTOS(i int, tos uint8) { b.pkts[i].tos = tos }
