package link

import (
	"encoding/binary"
	"math/bits"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"adit/packet"
	"golang.org/x/sys/unix"
)

// controlLen is space for all control messages of one datagram, in units of
// eight bytes for their alignment: in comes packet info (40 with its header), the
// traffic class (24) and the segment size (24), out goes the same; the kernel may
// add what it finds fit.
const controlLen = 16

type control [controlLen]uint64

func (c *control) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), len(c)*8)
}

// A sockaddr is struct sockaddr_in6, or sockaddr_in at its beginning.
type sockaddr = unix.RawSockaddrInet6

// An arrival is what the kernel says about a datagram, as it says it: two of
// the same bytes came the same way.
type arrival struct {
	from    sockaddr
	to      [16]byte // zero: unknown
	ifIndex uint32
}

// info is what the control messages of an arrived datagram say.
type info struct {
	to      [16]byte // destination address, IPv4 mapped into IPv6
	ifIndex uint32
	tos     uint8 // traffic class
	segment int   // UDP_GRO: size of each datagram; 0: there is one
}

// parseControl reads the control messages of an arrived datagram. Unknown ones
// and those cut off are left out.
func parseControl(b []byte) (in info) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		n := uint64(h.Len)
		if n < unix.SizeofCmsghdr || n > uint64(len(b)) {
			return in
		}
		data := b[unix.CmsgLen(0):max(int(n), unix.CmsgLen(0))]
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 20:
			copy(in.to[:], data)
			in.ifIndex = binary.NativeEndian.Uint32(data[16:])
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= 12:
			// ifindex (4), our address (4), destination in the header (4)
			in.ifIndex = binary.NativeEndian.Uint32(data)
			in.to = netip.AddrFrom4([4]byte(data[4:8])).As16()
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			in.tos = data[0] // one byte, ip(7)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			in.tos = uint8(binary.NativeEndian.Uint32(data))
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			in.segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
		next := unix.CmsgSpace(int(n) - unix.CmsgLen(0))
		if next > len(b) {
			return in
		}
		b = b[next:]
	}
	return in
}

// path returns the Path of a datagram that arrived so.
//
// IfIndex is set for link-local addresses only, where nothing else tells the
// link. For others it would be worse than nothing: told to leave by an
// interface that has no route to the far end, Linux takes the far end for a
// neighbour on that interface (ip_route_output_key_hash_rcu).
func (a *arrival) path(links *links) *packet.Path {
	p := &packet.Path{Arrived: a.ifIndex}
	var remote netip.Addr
	if a.from.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.from))
		remote = netip.AddrFrom4(v4.Addr)
	} else {
		remote = netip.AddrFrom16(a.from.Addr).Unmap()
	}
	if remote.Is6() && remote.IsLinkLocalUnicast() {
		p.IfIndex = a.from.Scope_id
		if p.IfIndex == 0 {
			p.IfIndex = a.ifIndex
		}
		remote = remote.WithZone(links.zone(p.IfIndex))
	}
	p.Remote = netip.AddrPortFrom(remote, ntohs(a.from.Port))
	local := netip.AddrFrom16(a.to).Unmap()
	if !local.IsUnspecified() && !local.IsMulticast() && local.Is4() == remote.Is4() {
		p.Local = local
	}
	return p
}

// setName writes the address of p's far end as the socket wants it and returns
// its length; 0 means that the socket cannot reach it.
func setName(sa *sockaddr, p *packet.Path, v6 bool) int {
	remote := p.Remote.Addr()
	port := htons(p.Remote.Port())
	if !v6 {
		if !remote.Is4() && !remote.Is4In6() {
			return 0
		}
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(sa)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: port, Addr: remote.Unmap().As4(),
		}
		return unix.SizeofSockaddrInet4
	}
	if !remote.IsValid() {
		return 0
	}
	*sa = sockaddr{Family: unix.AF_INET6, Port: port, Addr: remote.As16()}
	if remote.Is6() && !remote.Is4In6() && remote.IsLinkLocalUnicast() {
		sa.Scope_id = p.IfIndex
		if sa.Scope_id == 0 {
			sa.Scope_id = scope(remote.Zone())
		}
	}
	return unix.SizeofSockaddrInet6
}

// A departure builds the control messages of a datagram to be sent.
type departure struct {
	c *control
	n int
}

// put appends a control message of n bytes and returns its data.
func (d *departure) put(level, typ int32, n int) []byte {
	b := d.c.bytes()[d.n:]
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	d.n += unix.CmsgSpace(n)
	data := b[unix.CmsgLen(0):unix.CmsgSpace(n)]
	clear(data)
	return data
}

// source asks for the source address of p.
func (d *departure) source(p *packet.Path, v6 bool) {
	if v6 {
		// Also for IPv4, as a mapped address (ip_cmsg_send, allow_ipv6).
		data := d.put(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		local := p.Local.As16()
		copy(data, local[:])
		binary.NativeEndian.PutUint32(data[16:], p.IfIndex)
		return
	}
	data := d.put(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	local := p.Local.Unmap().As4()
	copy(data[4:], local[:])
}

// tos asks for a traffic class. The family is that on the wire.
func (d *departure) tos(tos uint8, v4 bool) {
	if v4 {
		binary.NativeEndian.PutUint32(d.put(unix.IPPROTO_IP, unix.IP_TOS, 4), uint32(tos))
	} else {
		binary.NativeEndian.PutUint32(d.put(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4), uint32(tos))
	}
}

// segment asks for the payload to be cut into datagrams of size bytes.
func (d *departure) segment(size int) {
	binary.NativeEndian.PutUint16(d.put(unix.SOL_UDP, unix.UDP_SEGMENT, 2), uint16(size))
}

const (
	minWays, maxWays = 64, 8192 // of arrivals: 4 KiB and half a MiB
	waysInRow        = 4
)

// arrivals remembers the Path of each way that datagrams came lately, so that
// the same way gives the same pointer and nothing is allocated. A few bits say
// in which row of places a way may be; where too many share one they take
// turns. The zero arrivals is empty; it grows with the number of ways, so that
// a thousand peers at once do not take turns all the time.
type arrivals struct {
	rows   [][waysInRow]way
	links  links
	turns  int // times that one way took another one's place, since it grew
	victim uint8
}

// A way is how a datagram came, and the Path made of it.
type way struct {
	from arrival
	path *packet.Path
}

func (t *arrivals) path(a *arrival) *packet.Path {
	if t.rows == nil {
		t.rows = make([][waysInRow]way, minWays/waysInRow)
	}
	row := t.row(a)
	for i := range row {
		if row[i].path != nil && row[i].from == *a {
			return row[i].path
		}
	}
	w := way{*a, a.path(&t.links)}
	t.put(w)
	return w.path
}

// row returns the places where a may be.
func (t *arrivals) row(a *arrival) *[waysInRow]way {
	h := binary.NativeEndian.Uint64(a.from.Addr[:]) ^ uint64(a.from.Port)<<32 ^ uint64(a.from.Flowinfo)
	for _, x := range [...]uint64{0, binary.NativeEndian.Uint64(a.from.Addr[8:])} {
		hi, lo := bits.Mul64(h^x^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93) // every bit changes all others
		h = hi ^ lo
	}
	return &t.rows[h%uint64(len(t.rows))]
}

// put keeps w, if need be in place of another.
func (t *arrivals) put(w way) {
	row := t.row(&w.from)
	for i := range row {
		if row[i].path == nil {
			row[i] = w
			return
		}
	}
	if t.turns++; t.turns > len(t.rows)/4 && len(t.rows) < maxWays/waysInRow {
		old := t.rows
		t.rows, t.turns = make([][waysInRow]way, 2*len(old)), 0
		for i := range old {
			for _, o := range old[i] {
				if o.path != nil {
					t.put(o) // half of a row's go to each of two
				}
			}
		}
		t.put(w)
		return
	}
	t.victim++
	row[t.victim%waysInRow] = w
}

// links remembers the name of the interface that was asked for last: whoever is on
// our link can send from any number of addresses, and to ask the kernel takes a
// dump of its interfaces and twenty allocations. It asks again at times, for an
// interface may be given another name. The zero links knows none.
type links struct {
	index uint32
	name  string
	uses  int // left, until the kernel is asked again
}

func (l *links) zone(ifIndex uint32) string {
	if l.uses--; l.uses < 0 || l.index != ifIndex {
		*l = links{index: ifIndex, name: zone(ifIndex), uses: 63}
	}
	return l.name
}

// zone returns the name of an interface, or its number where it has none.
func zone(ifIndex uint32) string {
	if i, err := net.InterfaceByIndex(int(ifIndex)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(ifIndex), 10)
}

// scope is the reverse of zone; 0 if there is no such interface.
func scope(zone string) uint32 {
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// htons and ntohs convert a port of a raw socket address.
func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func ntohs(v uint16) uint16 { return htons(v) }
