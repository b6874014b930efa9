package gateway

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"adit/netstack"

	"golang.org/x/net/icmp"
)

// pingIdle is how long after its last request or reply a ping is over.
const pingIdle = 30 * time.Second

// pings forwards echo requests by the kernel's ping sockets (icmp(7)), which
// need no privilege where net.ipv4.ping_group_range has our group in it, as most
// distributions set it. The kernel numbers echoes by socket, so each identifier
// of a peer gets a socket.
type pings struct {
	x *exit

	mu   sync.Mutex // guards open, and the fields of a ping that say so
	open map[pingKey]*ping
}

// A pingKey is what a peer tells its echoes apart by.
type pingKey struct {
	src, dst netip.Addr
	id       uint16
}

// A ping is the socket of one pingKey.
type ping struct {
	conn *icmp.PacketConn
	to   *net.UDPAddr
	last netstack.PingRequest // where replies go; without a message
}

func newPings(x *exit) *pings {
	return &pings{x: x, open: make(map[pingKey]*ping)}
}

// ICMP types and the length of the header, RFC 792 and RFC 4443 §4.
const (
	echo4, echoReply4 = 8, 0
	echo6, echoReply6 = 128, 129
	echoHeaderLen     = 8
)

// forward sends an echo request on. It does not block.
func (p *pings) forward(r netstack.PingRequest) {
	if len(r.Message) < echoHeaderLen || p.x.permit(r.Destination) != nil {
		return
	}
	key := pingKey{r.Source, r.Destination, binary.BigEndian.Uint16(r.Message[4:])}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.open[key]
	if f == nil {
		if f = p.start(key, r); f == nil {
			return
		}
	}
	f.conn.SetReadDeadline(time.Now().Add(pingIdle))
	f.conn.WriteTo(r.Message, f.to) // what is lost is lost
}

// start opens the socket of key and begins to wait for replies. It returns nil
// where that is not possible. p.mu must be held.
func (p *pings) start(key pingKey, r netstack.PingRequest) *ping {
	select {
	case p.x.flows <- struct{}{}:
	default:
		return nil
	}
	network, address := "udp4", "0.0.0.0"
	if key.dst.Is6() {
		network, address = "udp6", "::"
	}
	conn, err := icmp.ListenPacket(network, address)
	if err != nil {
		<-p.x.flows
		p.x.log.Debug("echo requests are not forwarded: net.ipv4.ping_group_range does not allow it", "err", err)
		return nil
	}
	if !p.x.open.begin() {
		conn.Close()
		<-p.x.flows
		return nil
	}
	p.x.open.add(conn)
	r.Message = nil
	f := &ping{conn: conn, to: &net.UDPAddr{IP: key.dst.AsSlice()}, last: r}
	p.open[key] = f
	go p.wait(key, f)
	return f
}

// wait brings replies back until the ping is over.
func (p *pings) wait(key pingKey, f *ping) {
	defer p.x.open.end()
	defer func() {
		p.mu.Lock()
		delete(p.open, key)
		p.mu.Unlock()
		p.x.open.remove(f.conn)
		<-p.x.flows
	}()
	want := byte(echoReply4)
	if key.dst.Is6() {
		want = echoReply6
	}
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	for {
		n, from, err := f.conn.ReadFrom(buf[:])
		if err != nil {
			return // silent for pingIdle, or the end
		}
		msg := buf[:n]
		udp, ok := from.(*net.UDPAddr)
		if !ok || n < echoHeaderLen || msg[0] != want || udp.AddrPort().Addr().Unmap() != key.dst {
			continue
		}
		binary.BigEndian.PutUint16(msg[4:], key.id)
		f.last.Reply(msg)
	}
}
