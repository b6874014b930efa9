// Package netstack is the network that a program sees: the router between the
// place where its packets are caught and the engine, and behind the router a
// TCP/IP stack (gVisor's) for everything that has no kernel of its own.
//
//	capture (TUN, veth)  ◄──►  router  ◄──►  engine          transit: untouched
//	                             │
//	Dialer, DNS, forwarders  ◄─ gVisor ──►  engine           endpoints of ours
//
// In namespace mode the program's kernel has built good IP packets already;
// the router decides per packet, without allocating, whether it may pass. In
// the modes without packets of their own, and for adit's own connections and
// names, every connection is an endpoint of gVisor.
//
// What it is not: it knows neither keys nor peers (package wg), nor how
// packets reach the kernel (package link). This is the only package that
// imports gVisor; nothing of gVisor shows in its API.
//
// The files:
//
//	stack.go      Config, Stack: the parts and their lifetime
//	device.go     the router as packet.Device: batches in both directions
//	router.go     what the rules have to remember
//	outgoing.go   the rules for packets of the program
//	incoming.go   the rules for packets of the tunnel
//	header.go     what the rules need to know of an IP packet
//	endpoints.go  which flows are gVisor's
//	prefixes.go   is an address covered by a set of prefixes
//	recent.go     which ports have sent lately, and what was logged already
//	unreachable.go  answers to packets that the tunnel does not carry
//	link.go       gVisor's link endpoint, run to completion; sender.go, gro.go:
//	              super-packets out, merged segments in
//	quiet.go      gVisor's own log
//	errno.go      gVisor's errors as the errno that a kernel would give
//	dialer.go     Dialer: DialContext, ListenPacket, Listen
//	endpoint.go   what sockets have in common; conn.go: streams;
//	              packetconn.go: datagrams; deadline.go; address.go;
//	              copy.go: io.Copy
//	resolve.go    names through the tunnel; dnsquery.go: one exchange
//	servedns.go   a forwarder of raw DNS messages
//	resolvconf.go the host's nameservers
//	forward.go    Gateway: the other end of a tunnel, connections to any address;
//	              forwardtcp.go, forwardudp.go, forwardping.go
package netstack
