// Package wg is a WireGuard engine: a pure core that knows the protocol, in a
// fast shell that moves the bytes.
//
// The core has no goroutine, socket, clock or randomness of its own. It is told
// what time it is, changes batches in place, and collects in an output what is
// to be sent and said. The shell ([Engine]) owns a [packet.Device] (packets in
// clear), a [Transport] (sealed datagrams), three goroutines and one timer.
//
// Every rule cites its source: "§5.4.2" is a section of the WireGuard
// whitepaper (https://www.wireguard.com/papers/wireguard.pdf), "timers.c" and
// the like are files of Linux, drivers/net/wireguard.
//
// The core:
//
//	message.go    the four messages: sizes, offsets, constants (§5.4, §6)
//	identity.go   who we are: our key, and another one at run time
//	noise.go      the symmetric state of Noise_IKpsk2 (§5.4)
//	handshake.go  initiation and response, made and consumed (§5.4.2, §5.4.3)
//	tai64n.go     the timestamp of initiations (§5.1)
//	cookie.go     mac1, mac2 and cookie replies (§5.3, §5.4.4, §5.4.7)
//	load.go       when are we under load; how many handshakes per source
//	initiate.go   when an initiation goes out, where to, and again (§6.4)
//	session.go    transport keys and their counters (§5.4.5, §5.4.6)
//	rotation.go   previous, current and next session (§6.3)
//	replay.go     the window of received counters (RFC 6479)
//	timers.go     every deadline of a peer (§6)
//	keepalive.go  the empty packet, and keeping sessions fresh (§6.2, §6.5)
//	agenda.go     which peer's deadline comes first
//	allowedips.go cryptokey routing (§2)
//	index.go      receiver index → peer and session
//	endpoint.go   where a peer is: its name, its addresses, a change of network
//	peer.go       all that is known about one peer
//	staged.go     packets that wait for a session
//	core.go       the whole, and its advance through time
//	reconcile.go  peers come, go and change
//	outbound.go   route → seal in place
//	inbound.go    open in place → replay, roaming, source check
//	control.go    handshake messages as they come in
//	ecn.go        congestion marks through the tunnel (RFC 6040)
//	icmp.go       unreachable, for what has no peer
//	output.go     what the core wants done
//
// The shell:
//
//	key.go        keys that do not print, and new ones
//	engine.go     Engine: New, Run, Outbound, Ready, SetPeers, SetPrivateKey, NetworkChanged
//	resolve.go    names of endpoints
//	events.go     Subscribe
//	status.go     Status, and the counters of drops
//	clock.go      time that goes on while the machine sleeps
//	transport.go  the seam to the network
package wg
