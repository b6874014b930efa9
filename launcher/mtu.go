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
// what the way to the endpoints leaves.
func (t *tunnel) chooseMTU(ctx context.Context, cfg *config.Config, under *underlay, in inside) (int, error) {
	remotes, err := t.remotes(ctx, cfg, under)
	if err != nil {
		return 0, err
	}
	if cfg.MTU != 0 {
		return cfg.MTU, nil
	}
	mtu := defaultMTU
	for _, r := range remotes {
		if room := under.room(r); room > 0 {
			mtu = min(mtu, room)
		}
	}
	floor := minMTU4
	if containsFamily(in.addresses, netip.Addr.Is6) {
		floor = minMTU6
	}
	return max(floor, mtu), nil
}

// remotes returns the addresses of the peers' endpoints, as far as they resolve.
// When none does, as when the network has just come up, all are tried again
// within the time that the command waits for its tunnel; with --wait none once.
func (t *tunnel) remotes(ctx context.Context, cfg *config.Config, under *underlay) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithDeadline(ctx, t.start.Add(t.timeout))
	defer cancel()
	for said := false; ; {
		var list []netip.AddrPort
		var last error
		var failing config.Endpoint
		for _, p := range cfg.Peers {
			if p.Endpoint.Port == 0 {
				continue
			}
			addrs, err := under.resolve(ctx, p.Endpoint.Host)
			if err != nil {
				t.e.log.Debug("the endpoint does not resolve yet", "endpoint", p.Endpoint.Host, "err", err)
				last, failing = err, p.Endpoint
			}
			for _, a := range addrs {
				list = append(list, netip.AddrPortFrom(a, p.Endpoint.Port))
			}
		}
		if last == nil || len(list) > 0 || t.cfg.Options.Wait.Kind == config.WaitNone {
			return list, nil
		}
		if !said {
			said = true
			t.e.report(report{Event: eventWaiting, Text: "waiting for the address of " + failing.Host})
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return nil, cause
			}
			return nil, errUnresolved(failing, last)
		case <-time.After(resolvePause):
		}
	}
}

// resolvePause is the time between two attempts to resolve the endpoints.
const resolvePause = 500 * time.Millisecond
