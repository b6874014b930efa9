// Package link is where packets and datagrams enter and leave the kernel. It has
// three ends, each of which moves whole batches with as few system calls as the
// kernel allows, and falls back by itself where the kernel allows less:
//
//	TUN   a packet.Device: IP packets of a network namespace, by a TUN device
//	Veth  a packet.Device: the same, by an AF_PACKET socket on a veth pair
//	UDP   a wg.Transport: datagrams of the host
//
// Files:
//
//	kernel.go    the system calls of the hot path, behind a seam for tests
//	file.go      a non-blocking descriptor with the runtime's poller
//	inject.go    writing batches with virtio headers;
//	extract.go   reading them; what TUN and Veth share
//	tun.go       TUN; tun_watch.go: up, down, another MTU, another namespace;
//	             tun_news.go: hearing of it; tun_leave.go: an end that is not waited for
//	veth.go      Veth; ring.go: its receive ring
//	udp.go       UDP: the socket and its options; udp_read.go, udp_write.go
//	path.go      packet.Path to and from socket addresses and control messages
//	hazard.go    kernels whose offloads are known to be broken
//	pmtu.go      path MTU of the host's route to an address
//	watch.go     changes of the host's addresses and routes; source.go: whether a way is
//	             still one then
//	pcap.go      decorators that record what passes
//
// A goroutine that waits in Read is parked in the runtime's poller and costs
// nothing. Nothing here allocates per packet.
package link
