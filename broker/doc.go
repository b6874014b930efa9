// Package broker gives sockets to a program that has no network of its own: what
// a kernel does at socket(2), connect(2), bind(2) and their like, done on behalf
// of the program, over a netstack.Dialer. The modes without a namespace share it:
// in seccomp mode the program's system calls come here, in preload mode those of
// a shim inside the program.
//
// What the program holds is never a socket that could leave the machine:
//
//	TCP   a socket of the kernel's, bound to lo for good (SO_BINDTODEVICE cannot
//	      be undone without CAP_NET_RAW, socket(7)). connect makes it one end of a
//	      loopback connection whose other end is relayed into the tunnel
//	UDP   one end of a pair of AF_UNIX sockets. AF_UNSPEC, IP_PKTINFO, groups and
//	      whatever else binds an inet datagram socket to another interface mean
//	      nothing to it
//
// A call takes a descriptor of the program's socket, which is the caller's and is
// not kept. Addresses are bytes as in the program's memory, struct sockaddr.
//
//	broker.go      Broker: its parts and its end
//	sockaddr.go    struct sockaddr to and from netip.AddrPort
//	address.go     the private network on lo, and which of its addresses means what
//	stream.go      TCP sockets: made, accepted; bind.go: at which address; name.go,
//	               procnet.go: what they are called; v6only.go: a flag that they lose;
//	               connect.go: on behalf; dial.go: how a connection is made meanwhile;
//	               pending.go, hole.go: what a socket looks like until then;
//	               diag.go: which socket that is;
//	               closed.go: one that nobody waits for any more;
//	               relay.go, nearconn.go: bytes to and from the tunnel; wait.go: waiting for a socket;
//	               later.go: what comes due seldom
//	guard.go       ports that stay the program's
//	expose.go      listeners that are reached from the tunnel
//	unix.go        connect(2) to sockets of the file system; unix_wait.go: one that waits;
//	               openas.go: what a path
//	               leads the program to; resolvers.go: what it is not let to;
//	               credentials.go: as the user of the thread that calls
//	namespace.go   who has a network of its own
//	datagram*.go   UDP sockets; datagram_share.go: several at one port
//	unfit.go       options that nobody may set
//	switch.go      datagrams between programs of the same run; stub.go: nameservers
//
// Methods are safe for concurrent use. Results are errnos as the kernel's, 0 for
// success; ctx ends a call that waits, which then has no result that matters.
package broker
