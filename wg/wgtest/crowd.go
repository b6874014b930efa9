package wgtest

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"

	"adit/packet"
)

const (
	crowdFlows = 64 // of TCP and UDP, over IPv4 and IPv6, an equal number of each
	crowdPort  = 20000

	// What may be on the way before one more super-packet is sent: less than
	// the smallest receive buffer of a UDP socket that a Linux has, with all
	// that the kernel counts beside the bytes, and than what an engine keeps
	// until it has a session.
	crowdBytes   = 48 << 10
	crowdPackets = 64
)

// A Crowd is one direction of many flows at once, all of them numbered: of TCP
// every byte, of UDP every datagram. It makes packets as a device with offloads
// hands them over, super-packets of every size among single ones, and looks at
// what comes out at the far end as the kernel there would: merged. It sends no
// more than a socket's buffer holds, so that nothing has to be lost.
//
// It is safe for concurrent use.
type Crowd struct {
	mu       sync.Mutex // guards what follows
	moved    *sync.Cond // something arrived, or the end came
	rng      *rand.Rand
	flows    [crowdFlows]crowdFlow
	left     int // bytes to send
	splitter packet.Splitter
	super    []byte
	more     bool // the splitter has
	merger   packet.Merger
	parts    [][]byte
	bytes    int // on the way
	tally    CrowdTally
	closed   bool
	done     chan struct{} // closed when all has arrived
}

// A CrowdTally is what came of a Crowd.
type CrowdTally struct {
	Sent, Arrived int // packets
	Early         int // came before one that was sent earlier: what a receiver of TCP puts into its queue of segments out of order
	Late          int // came after one that was sent later, or twice
	Damaged       int // are not what was sent
	Supers        int // of all pieces that arrived those that were merged of several packets
}

// A crowdFlow is both ends of a flow: the next number to send and the next one
// expected.
type crowdFlow struct {
	tcp, v6    bool
	id         uint16
	send, want uint32
}

// NewCrowd returns a Crowd that sends so many bytes. seed decides what they are.
func NewCrowd(seed uint64, bytes int) *Crowd {
	c := &Crowd{rng: rand.New(rand.NewPCG(seed, 0)), left: bytes, merger: packet.Merger{TCP: true, UDP: true}, done: make(chan struct{})}
	c.moved = sync.NewCond(&c.mu)
	for i := range c.flows {
		f := &c.flows[i]
		f.tcp, f.v6 = i%2 == 0, i/2%2 == 0
		if f.tcp { // numbers wrap, too
			f.send = -uint32(c.rng.IntN(1 << 20))
			f.want = f.send
		}
	}
	return c
}

// Done is closed when all that was to be sent has arrived.
func (c *Crowd) Done() <-chan struct{} { return c.done }

// Tally returns what came of the Crowd so far.
func (c *Crowd) Tally() CrowdTally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tally
}

// Device returns a device at which out begins and in ends.
func (out *Crowd) Device(mtu int, in *Crowd) packet.Device {
	return &crowdDevice{out: out, in: in, mtu: mtu, done: make(chan struct{})}
}

type crowdDevice struct {
	out, in *Crowd
	mtu     int
	done    chan struct{}
	once    sync.Once
}

func (d *crowdDevice) MTU() int { return d.mtu }

// Read gives the next packets. See packet.Device.
func (d *crowdDevice) Read(b *packet.Batch) error {
	if d.out.fill(b, d.mtu) {
		return nil
	}
	<-d.done
	return net.ErrClosed
}

// Write looks at what arrived. See packet.Device.
func (d *crowdDevice) Write(b *packet.Batch) error {
	d.in.arrive(b)
	return nil
}

func (d *crowdDevice) Close() error {
	d.once.Do(func() { close(d.done) })
	d.out.mu.Lock()
	defer d.out.mu.Unlock()
	d.out.closed = true
	d.out.moved.Broadcast()
	return nil
}

// fill waits until something may be sent and reports whether there is anything.
func (c *Crowd) fill(b *packet.Batch, mtu int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.Reset()
	for !c.closed && (c.bytes > crowdBytes || c.tally.Sent-c.tally.Arrived > crowdPackets) {
		c.moved.Wait()
	}
	if c.closed || c.left <= 0 && !c.more {
		return false
	}
	for {
		if !c.more {
			if c.left <= 0 || c.bytes > crowdBytes || c.tally.Sent-c.tally.Arrived > crowdPackets {
				return true
			}
			c.make(mtu)
		}
		before := b.Len()
		c.more = c.splitter.Next(b)
		for i := before; i < b.Len(); i++ {
			c.bytes += len(b.Packet(i))
			c.tally.Sent++
		}
		if c.more {
			return true
		}
	}
}

// make gives the splitter another packet, of any flow, of any size.
func (c *Crowd) make(mtu int) {
	i := c.rng.IntN(len(c.flows))
	f := &c.flows[i]
	header, ip := 20+20, 20
	if f.v6 {
		header, ip = 40+20, 40
	}
	if !f.tcp {
		header -= 12
	}
	segment := []int{mtu - header, mtu - header, 8 + c.rng.IntN(mtu-header-7)}[c.rng.IntN(3)]
	count := []int{1, 1, 2 + c.rng.IntN(44)}[c.rng.IntN(3)]
	count = min(count, (60000-header)/segment)
	payload := segment * count
	if f.tcp && c.rng.IntN(2) == 0 {
		payload -= c.rng.IntN(segment) // a short one at the end
	}
	c.left -= payload
	c.super = append(c.super[:0], make([]byte, header+payload)...)
	pkt := c.super
	h := packet.VirtioHeader{Flags: packet.VirtioNeedsChecksum, ChecksumStart: uint16(ip), ChecksumOffset: 6}
	if f.tcp {
		h.ChecksumOffset = 16
	}
	if payload > segment {
		h.SegmentSize, h.HeaderLen, h.Kind = uint16(segment), uint16(header), packet.VirtioUDP
		if f.tcp {
			h.Kind = packet.VirtioTCPv4
			if f.v6 {
				h.Kind = packet.VirtioTCPv6
			}
		}
	}
	f.fillIP(pkt)
	tp := pkt[ip:]
	binary.BigEndian.PutUint16(tp, crowdPort+uint16(i))
	binary.BigEndian.PutUint16(tp[2:], 443)
	if f.tcp {
		binary.BigEndian.PutUint32(tp[4:], f.send)
		tp[12], tp[13] = 5<<4, 0x10|uint8(c.rng.IntN(2)<<3) // ACK, now and then PSH
		for k := range pkt[header:] {
			pkt[header+k] = octet(f.send + uint32(k))
		}
		f.send += uint32(payload)
	} else {
		binary.BigEndian.PutUint16(tp[4:], uint16(len(tp)))
		for at := header; at < len(pkt); at += segment {
			binary.BigEndian.PutUint32(pkt[at:], f.send)
			f.send++
		}
	}
	if err := c.splitter.Start(h, pkt); err != nil {
		panic("BUG: " + err.Error())
	}
}

// fillIP writes the IP header.
func (f *crowdFlow) fillIP(pkt []byte) {
	proto := byte(packet.ProtoUDP)
	if f.tcp {
		proto = packet.ProtoTCP
	}
	if f.v6 {
		pkt[0], pkt[6], pkt[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
		pkt[8], pkt[23], pkt[24], pkt[39] = 0xfd, 1, 0xfd, 2
		return
	}
	f.id += 64 // more than a super-packet has segments
	pkt[0], pkt[6], pkt[8], pkt[9] = 0x45, 0x40, 64, proto
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	binary.BigEndian.PutUint16(pkt[4:], f.id)
	copy(pkt[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(pkt[10:], Checksum(pkt[:20]))
}

// octet is byte n of every stream.
func octet(n uint32) byte { return byte(n ^ n>>8 ^ n>>16) }

// arrive merges what came and looks at each piece.
func (c *Crowd) arrive(b *packet.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b.Len() {
		if n := len(b.Packet(i)); n > 0 {
			c.tally.Arrived++
			c.bytes -= n
		}
	}
	for i := range c.merger.Merge(b) {
		_, c.parts = c.merger.Piece(i, c.parts[:0])
		if len(c.parts) > 1 {
			c.tally.Supers++
		}
		c.look(c.parts)
	}
	c.moved.Broadcast()
	if c.left <= 0 && !c.more && c.tally.Arrived >= c.tally.Sent {
		select {
		case <-c.done:
		default:
			close(c.done)
		}
	}
}

// look compares the numbers of a piece with those expected.
func (c *Crowd) look(parts [][]byte) {
	t, ok := packet.Transport(parts[0])
	i := int(t.SrcPort) - crowdPort
	if !ok || i < 0 || i >= len(c.flows) {
		c.tally.Damaged++
		return
	}
	f := &c.flows[i]
	header := t.Offset + 8
	if f.tcp {
		header = t.Offset + 20
	}
	number := binary.BigEndian.Uint32(parts[0][t.Offset+4:]) // of TCP
	for k, payload := range parts {
		if k == 0 {
			payload = payload[header:]
		}
		size := uint32(len(payload))
		if !f.tcp {
			number, size = binary.BigEndian.Uint32(payload), 1
		} else if payload[0] != octet(number) || payload[size-1] != octet(number+size-1) {
			c.tally.Damaged++
		}
		switch ahead := int32(number - f.want); {
		case ahead < 0:
			c.tally.Late++
		case ahead > 0:
			c.tally.Early++
			fallthrough
		default:
			f.want = number + size
		}
		number += size
	}
}
