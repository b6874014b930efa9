package broker

import (
	"net/netip"
	"testing"

	"adit/netstack"
	"adit/netstack/stacktest"
)

// Addresses of newNetwork.
var (
	near4 = netip.MustParseAddr("10.9.0.2")
	near6 = netip.MustParseAddr("fd09::2")
	far4  = netip.MustParseAddr("10.9.0.1")
	other = netip.MustParseAddr("10.9.0.3") // of the far Stack too
	far6  = netip.MustParseAddr("fd09::1")
)

// newNetwork joins two Stacks by a wire, as if an engine and its peer were there:
// near is ours, far is the rest of the world. Both let everybody in. The tunnel covers
// their networks and no other one.
//
//	10.9.0.2, fd09::2  near ═══ far  10.9.0.1, 10.9.0.3, fd09::1
func newNetwork(t testing.TB) (near, far *netstack.Stack) {
	t.Helper()
	all := netstack.Config{Expose: netstack.Exposed{All: true}}
	near = stacktest.New(t, all, "10.9.0.2/24", "fd09::2/64")
	far = stacktest.New(t, all, "10.9.0.1/24", "10.9.0.3/24", "fd09::1/64")
	stacktest.Join(t, near, far)
	return near, far
}
