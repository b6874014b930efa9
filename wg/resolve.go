package wg

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// resolveTimeout is how long one question for a name may take.
const resolveTimeout = 10 * time.Second

// lookup answers a resolveRequest, on a goroutine of its own: names take their
// time, packets do not wait.
func (e *Engine) lookup(ctx context.Context, r resolveRequest) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := e.resolve(ctx, r.host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: r.host, IsNotFound: true}
	}
	out := e.newOutput()
	e.core.resolved(e.clock.now(), r, addrs, err, out)
	e.deliver(out)
}

func hostResolver(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
