// Package packet is what travels between adit's parts: a batch of IP packets
// or of WireGuard datagrams in one slab, and the transformations that need to
// know nothing but bytes: splitting a super-packet into the segments it stands
// for, merging segments back, checksums.
//
// A [Batch] is a concrete type on purpose: a slice of slices could neither say
// that forty packets lie at one stride and can leave with one system call, nor
// leave room around each for a header and a tag. The batch goes through the
// whole program without being copied:
//
//	TUN ─ Read ─► split ─► router ─► seal in place ─► UDP (UDP_SEGMENT)
//	TUN ◄ Write ─ merge ◄─ router ◄─ open in place ◄─ UDP (UDP_GRO)
//
// Files:
//
//	batch.go     Batch: the slab and what lies in it; Room; Path
//	device.go    Device: the seam between parts that pass IP packets
//	virtio.go    VirtioHeader: what goes with a super-packet
//	split.go     Splitter: a super-packet into segments
//	merge.go     Merger: segments into super-packets, by reference
//	flows.go     the flows of a batch, for it
//	checksum.go  the Internet checksum, copying or not; checksum_amd64.go and .s:
//	             with AVX2; checksum_generic.go: without
//	header.go    addresses, ports and lengths of IP packets
//	icmp.go      "destination unreachable" and "packet too big"
//
// The package does no I/O and makes no system call.
package packet
