package gateway

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"adit/netstack"
)

// maxNameservers is how many of resolv.conf's nameservers are used: MAXNS of
// resolv.conf(5).
const maxNameservers = 3

// A resolver answers DNS at one of the gateway's addresses.
type resolver struct {
	udp net.PacketConn
	tcp net.Listener
}

// listenDNS opens the sockets at which DNS is answered.
func (x *exit) listenDNS(ctx context.Context) error {
	for _, addr := range x.local {
		address := netip.AddrPortFrom(addr, 53).String()
		udp, err := x.net.ListenPacket(ctx, "udp", address)
		if err != nil {
			return err
		}
		tcp, err := x.net.Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		x.resolvers = append(x.resolvers, resolver{udp, tcp})
	}
	return nil
}

// serveDNS answers DNS until ctx ends, if that is wanted. Messages are forwarded
// as they are, so peers get every kind of record.
func (x *exit) serveDNS(ctx context.Context) error {
	if len(x.resolvers) == 0 {
		return nil
	}
	servers, err := x.nameservers()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialer := hostDialer()
	errs := make(chan error, len(x.resolvers))
	for _, r := range x.resolvers {
		go func() { errs <- netstack.ForwardDNS(ctx, r.udp, r.tcp, servers, dialer.DialContext) }()
	}
	var first error
	for range x.resolvers { // when one ends, all do
		if err := <-errs; first == nil {
			first = err
		}
		cancel()
	}
	return first
}

// hostNameservers returns the host's nameservers.
func hostNameservers() ([]netip.AddrPort, error) {
	f, err := os.Open("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return parseNameservers(strings.NewReader(""))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseNameservers(f)
}

// parseNameservers reads the nameserver lines of a resolv.conf. Without any it
// is the host itself, resolv.conf(5).
func parseNameservers(r io.Reader) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(servers) < maxNameservers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(servers) == 0 {
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers, lines.Err()
}
