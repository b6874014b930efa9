// Package device is a WireGuard interface for those who run the machine: a TUN
// that is configured by wg(8) and wg-quick(8) over a socket, as wireguard-go's
// and the kernel's are. It needs CAP_NET_ADMIN.
//
//	uapi.go        one set operation, one report: the values
//	uapi_parse.go  lines → a change
//	uapi_print.go  a report → text
//	state.go       what the device was told to be, and what that makes of peers
//
// Those have no I/O. The rest has:
//
//	device.go      Run: engine, TUN, clients and their lifetimes
//	conn.go        one client
//	transport.go   a wg.Transport whose socket can be replaced
//	socket.go      /var/run/wireguard/NAME.sock
//	tun.go         the interface
//	gate.go        packets that are faster than the news that it is up
//	detach.go      going to the background
//
// The protocol is https://www.wireguard.com/xplatform/. An operation is carried
// out as a whole or, where anything is wrong with it, not at all.
package device
