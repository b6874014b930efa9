package link

import (
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"time"

	"adit/packet"
)

// LINKTYPE_RAW: each packet begins with its IPv4 or IPv6 header
// (https://www.tcpdump.org/linktypes.html).
const linkTypeRaw = 101

// A PcapWriter writes packets in pcap format, with a nanosecond time stamp.
// Safe for concurrent use.
type PcapWriter struct {
	mu  sync.Mutex // guards all that follows
	w   io.Writer
	buf []byte
	err error // the first one; nothing is written after it
}

// NewPcapWriter writes the file header to w and returns the writer.
func NewPcapWriter(w io.Writer) (*PcapWriter, error) {
	// magic (4), version (2, 2), time zone (4), accuracy (4), snap length (4), link type (4)
	h := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = binary.LittleEndian.AppendUint64(h, 0)
	h = binary.LittleEndian.AppendUint32(h, 1<<18)
	h = binary.LittleEndian.AppendUint32(h, linkTypeRaw)
	if _, err := w.Write(h); err != nil {
		return nil, err
	}
	return &PcapWriter{w: w}, nil
}

// Err returns the error that ended the recording, if any. Recording never
// disturbs the traffic.
func (p *PcapWriter) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Record writes the packets of b, which it does not keep.
func (p *PcapWriter) Record(b *packet.Batch) { p.batch(b, nil) }

// batch writes the packets of b, each behind the header that head appends.
func (p *PcapWriter) batch(b *packet.Batch, head func(buf []byte, i int) []byte) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.buf = p.buf[:0]
	for i := range b.Len() {
		pkt := b.Packet(i)
		if len(pkt) == 0 {
			continue
		}
		// seconds (4), nanoseconds (4), captured (4), original length (4)
		start := len(p.buf)
		p.buf = binary.LittleEndian.AppendUint32(p.buf, uint32(now.Unix()))
		p.buf = binary.LittleEndian.AppendUint32(p.buf, uint32(now.Nanosecond()))
		p.buf = append(p.buf, make([]byte, 8)...)
		body := len(p.buf)
		if head != nil {
			p.buf = head(p.buf, i)
		}
		p.buf = append(p.buf, pkt...)
		n := uint32(len(p.buf) - body)
		binary.LittleEndian.PutUint32(p.buf[start+8:], n)
		binary.LittleEndian.PutUint32(p.buf[start+12:], n)
	}
	if len(p.buf) > 0 {
		_, p.err = p.w.Write(p.buf)
	}
}

// PcapDevice returns d, of which every packet read and written is recorded.
func PcapDevice(d packet.Device, w *PcapWriter) packet.Device { return &pcapDevice{Device: d, w: w} }

type pcapDevice struct {
	packet.Device
	w *PcapWriter
}

func (d *pcapDevice) Read(b *packet.Batch) error {
	err := d.Device.Read(b)
	if err == nil {
		d.w.batch(b, nil)
	}
	return err
}

func (d *pcapDevice) Write(b *packet.Batch) error {
	d.w.batch(b, nil) // before: Write may change the slab
	return d.Device.Write(b)
}

// transport is wg.Transport: this package and wg do not know each other.
type transport = interface {
	Read(b *packet.Batch) error
	Write(b *packet.Batch) error
	Overhead() int
	Close() error
}

// PcapTransport returns t, of which every datagram read and written is recorded
// behind an IP and a UDP header made up from its Path. Where the Path does not
// say our address it is the unspecified one; our port is known if t has a
// method LocalPort() uint16.
func PcapTransport(t transport, w *PcapWriter) transport {
	p := &pcapTransport{transport: t, w: w}
	if l, ok := t.(interface{ LocalPort() uint16 }); ok {
		p.port = l.LocalPort()
	}
	return p
}

type pcapTransport struct {
	transport
	w    *PcapWriter
	port uint16
}

func (t *pcapTransport) Read(b *packet.Batch) error {
	err := t.transport.Read(b)
	if err == nil {
		t.w.batch(b, func(buf []byte, i int) []byte {
			local, remote := t.ends(b.Path(i))
			return appendUDP(buf, remote, local, b.TOS(i), b.Packet(i))
		})
	}
	return err
}

func (t *pcapTransport) Write(b *packet.Batch) error {
	t.w.batch(b, func(buf []byte, i int) []byte {
		local, remote := t.ends(b.Path(i))
		return appendUDP(buf, local, remote, b.TOS(i), b.Packet(i))
	})
	return t.transport.Write(b)
}

// ends returns the two ends of a way, of one family.
func (t *pcapTransport) ends(p *packet.Path) (local, remote netip.AddrPort) {
	here, there := netip.IPv4Unspecified(), netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if p != nil && p.Remote.IsValid() {
		there = netip.AddrPortFrom(p.Remote.Addr().Unmap(), p.Remote.Port())
		if there.Addr().Is6() {
			here = netip.IPv6Unspecified()
		}
		if l := p.Local.Unmap(); l.IsValid() && l.Is4() == there.Addr().Is4() {
			here = l
		}
	}
	return netip.AddrPortFrom(here, t.port), there
}

// appendUDP appends the IP and UDP headers of a datagram.
func appendUDP(buf []byte, from, to netip.AddrPort, tos uint8, payload []byte) []byte {
	const udp, proto = 8, packet.ProtoUDP
	n := udp + len(payload)
	if from.Addr().Is4() {
		s, d := from.Addr().As4(), to.Addr().As4()
		start := len(buf)
		buf = append(buf, 0x45, tos)
		buf = binary.BigEndian.AppendUint16(buf, uint16(20+n))
		buf = append(buf, 0, 0, 0, 0, 64, proto, 0, 0)
		buf = append(append(buf, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(buf[start+10:], ^packet.Fold(packet.Sum(0, buf[start:])))
	} else {
		s, d := from.Addr().As16(), to.Addr().As16()
		buf = append(buf, 0x60|tos>>4, tos<<4, 0, 0)
		buf = binary.BigEndian.AppendUint16(buf, uint16(n))
		buf = append(buf, proto, 64)
		buf = append(append(buf, s[:]...), d[:]...)
	}
	start := len(buf)
	buf = binary.BigEndian.AppendUint16(buf, from.Port())
	buf = binary.BigEndian.AppendUint16(buf, to.Port())
	buf = binary.BigEndian.AppendUint16(buf, uint16(n))
	buf = append(buf, 0, 0)
	acc := packet.PseudoSum(from.Addr(), to.Addr(), proto, n)
	sum := ^packet.Fold(packet.Sum(packet.Sum(acc, buf[start:]), payload))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(buf[start+6:], sum)
	return buf
}
