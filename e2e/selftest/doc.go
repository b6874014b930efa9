// Package selftest checks what Linux's own test of WireGuard checks
// (tools/testing/selftests/wireguard/netns.sh), with adit's device and
// wireguard-go in the place of the kernel's module, on each side of the tunnel.
// It holds tests only. docs/testing.md says which section of netns.sh became
// which test.
//
// Every test stands on this, in namespaces of its own (world_test.go):
//
//	┌──────────── a ────────────┐    ┌──────── middle ────────┐    ┌──────────── b ────────────┐
//	│ wgN             eth0 ─────┼────┼─ toa              tob ──┼────┼──── eth0             wgM  │
//	│ 192.168.241.1   10.0.1.2  │    │  10.0.1.1    10.0.2.1  │    │ 10.0.2.2    192.168.241.2 │
//	│ fd00::1         fd01::2   │    │  fd01::1     fd02::1   │    │ fd02::2           fd00::2 │
//	└───────────────────────────┘    └────────────────────────┘    └───────────────────────────┘
//
// The middle routes, translates addresses, drops by rule, and is where packets
// are watched and spoiled. Where netns.sh has both hosts on one cable, so has
// the test. The engines run in a and b, and in the middle where the test is
// about an interface that was moved away from its sockets, as netns.sh has it
// everywhere.
//
// An interface has a name of its own in every test, because wg(8) finds all of
// them in the one folder /var/run/wireguard of the lab.
package selftest
