package launcher

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A resolver asks the host's resolver for the names of endpoints: the one thing
// of a run that is asked outside of the tunnel. An answer serves for a few
// seconds, so that starting asks once. Safe for concurrent use.
type resolver struct {
	ask func(ctx context.Context, host string) ([]netip.Addr, error)

	mu     sync.Mutex
	recent map[string]answer
}

type answer struct {
	addrs []netip.Addr
	at    time.Time
}

// answerLife is how long an answer is used again.
const answerLife = 3 * time.Second

func newResolver() *resolver {
	return &resolver{
		ask: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		recent: make(map[string]answer),
	}
}

// lookup returns the addresses of host, which may be an address itself.
func (r *resolver) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	r.mu.Lock()
	old, ok := r.recent[host]
	r.mu.Unlock()
	if ok && time.Since(old.at) < answerLife {
		return old.addrs, nil
	}
	addrs, err := r.ask(ctx, host)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	r.mu.Lock()
	r.recent[host] = answer{addrs, time.Now()}
	r.mu.Unlock()
	return addrs, nil
}
