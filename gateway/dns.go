package gateway

import (
	"context"
	"net"
	"net/netip"

	"adit/netstack"
)

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
