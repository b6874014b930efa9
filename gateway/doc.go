// Package gateway is the other end of a tunnel, in one process without any
// privilege: it accepts WireGuard peers and makes their connections from this
// host's ordinary sockets.
//
//	peer ═ UDP ═► wg ─► netstack.Gateway ─► net.Dialer ─► the network
//
// What a peer sees is what it would see behind a router. A connection is
// accepted only when it was accepted behind the gateway; a refusal is a RST, a
// way that ends is an ICMP error, half-closes and resets are passed on. UDP
// flows end after three silent minutes, those to port 53 after thirty seconds.
// The gateway's own addresses answer echo requests; echo requests to others go
// on where the host lets unprivileged users ping (ping_group_range), and are
// dropped elsewhere. Other protocols are answered as unsupported.
//
// What a peer may not reach, whatever it asks for and in whatever form
// (policy.go): this host's loopback, link-local addresses and the metadata
// services of clouds, multicast and broadcast, and other peers. The host's other
// addresses and the networks that it is in are within reach: that is what a
// gateway is for.
//
// The files:
//
//	gateway.go  Options, Gateway: the parts and their lifetime
//	policy.go   where peers may go
//	tcp.go      a connection; udp.go: a flow; ping.go: echo requests
//	dns.go      names for the peers, by the host's nameservers
//	peers.go    who may come, and that no two have the same address
//	newpeer.go  keys and a configuration file for one more peer
//	closers.go  what is open, and is closed at the end
package gateway
