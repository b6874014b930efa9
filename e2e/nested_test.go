package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"adit/e2e/lab"
)

// nested writes the configurations of a tunnel inside another one. The peer is
// the same for both: what comes out of the outer tunnel for its port is the
// inner one's. via and endpoint are where the peer is for the outer and for the
// inner tunnel: of one family, see renewPeer.
func (w *world) nested(t *testing.T, via netip.AddrPort, endpoint string) (outer, inner string) {
	t.Helper()
	outer = w.file(t, "outer.conf", conf{endpoint: via.String()}.text(w), 0o600)
	inner = w.file(t, "inner.conf", conf{client: otherClient, endpoint: endpoint}.text(w), 0o600)
	return outer, inner
}

func TestInnerTunnelGoesThroughTheOuter(t *testing.T) {
	w := enter(t)
	w.watch(t)
	for via, service := range map[netip.AddrPort]netip.Addr{endpointV4: lab.ServiceV4, endpointV6: lab.ServiceV6} {
		w.renewPeer(t)
		outer, inner := w.nested(t, via, netip.AddrPortFrom(service, serverPort).String())
		for _, page := range pages {
			cmd := w.run("-c", outer, "-c", inner, "--", w.probe, "get", page)
			got := wantOK(t, cmd)
			if a, err := netip.ParseAddr(strings.TrimSpace(got)); err != nil || !slices.Contains(addressesOf(otherClient), a) {
				t.Errorf("%s by %v: the server saw %q, want the inner tunnel's address", page, service, got)
			}
		}
	}
}

// Who is asked for the name of the inner peer would learn of it.
func TestInnerEndpointsNameIsAskedThroughTheOuterTunnel(t *testing.T) {
	w := enter(t)
	w.watch(t) // and the host's nameserver
	outer, inner := w.nested(t, endpointV4, "v4.test:51820")
	wantStdout(t, w.run("-c", outer, "-c", inner, "--", w.probe, "get", pages[0]), "10.9.0.4\n")
	if asked := w.tunnelDNS.Asked(); !slices.ContainsFunc(asked, func(q string) bool { return strings.Contains(q, "v4.test") }) {
		t.Errorf("the tunnel's nameserver was asked %q, want v4.test", asked)
	}
}

func TestDeadInnerPeerIsNamed(t *testing.T) {
	w := enter(t)
	outer, inner := w.nested(t, endpointV4, "10.9.0.1:9")
	r := do(t, w.run("-c", outer, "-c", inner, "--wait-timeout", "1s", "--", "true"))
	if r.code != 124 || !strings.Contains(r.stderr, "no handshake with 10.9.0.1:9 within 1s") {
		t.Errorf("got status %d, %q; want 124 and the inner endpoint", r.code, r.stderr)
	}
}

func addressesOf(client int) (list []netip.Addr) {
	for _, p := range clientAddresses(client) {
		list = append(list, p.Addr())
	}
	return list
}
