package launcher

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"adit/config"
)

// Sizes in bytes: the largest MTU that is chosen without being asked, the
// smallest that IPv6 (RFC 8200 §5) and IPv4 (RFC 791, with room for a tunnel)
// can live with, and what a WireGuard message adds: 32 of its own and UDP's 8
// behind the outer IP header.
const (
	defaultMTU = 1420
	minMTU6    = 1280
	minMTU4    = 576
	overhead4  = 20 + 8 + 32
	overhead6  = 40 + 8 + 32
)

// overhead returns what a tunnel adds to each packet on the way to remote.
func overhead(remote netip.Addr) int {
	if remote.Unmap().Is4() {
		return overhead4
	}
	return overhead6
}

// chooseMTU returns the MTU of a carrier: what its configuration says, else
// what the way to the endpoint leaves. For that the endpoints' names have to be
// resolved; a name that does not resolve yet is tried again within the time
// that the command waits for its tunnel.
func (t *tunnel) chooseMTU(ctx context.Context, cfg *config.Config, under *underlay, in inside) (int, error) {
	if t.cfg.Options.Wait.Kind == config.WaitNone && cfg.MTU != 0 {
		return cfg.MTU, nil
	}
	deadline := t.start.Add(t.timeout)
	path := 0
	for _, p := range cfg.Peers {
		if p.Endpoint.Port == 0 {
			continue
		}
		addrs, err := t.resolve(ctx, under, p.Endpoint, deadline)
		if err != nil {
			return 0, err
		}
		for _, a := range addrs {
			if m := under.room(netip.AddrPortFrom(a, p.Endpoint.Port)); m > 0 && (path == 0 || m < path) {
				path = m
			}
		}
	}
	if cfg.MTU != 0 {
		return cfg.MTU, nil
	}
	floor := minMTU4
	if containsFamily(in.addresses, netip.Addr.Is6) {
		floor = minMTU6
	}
	if path == 0 {
		path = defaultMTU
	}
	return max(floor, min(path, defaultMTU)), nil
}

// resolve returns the addresses of an endpoint. What fails for a while, as
// names do when the network has just come up, is tried again until deadline.
func (t *tunnel) resolve(ctx context.Context, under *underlay, ep config.Endpoint, deadline time.Time) ([]netip.Addr, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	said := false
	for {
		addrs, err := under.resolve(ctx, ep.Host)
		if err == nil {
			return addrs, nil
		}
		t.e.log.Debug("the endpoint does not resolve yet", "endpoint", ep.Host, "err", err)
		if !said {
			said = true
			t.e.report(report{Event: eventWaiting, Text: "waiting for the address of " + ep.Host})
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return nil, cause
			}
			return nil, errUnresolved(ep, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
