package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Field offsets from the start of the IP header: RFC 791 §3.1, RFC 8200 §3.
const (
	v4Fragment, v4Protocol, v4Src, v4Dst = 6, 9, 12, 16
	v6NextHeader, v6Src, v6Dst, v6Len    = 6, 8, 24, 40
)

// tunnelFilter returns a program for a SOCK_DGRAM packet socket that tells the
// tunnel's datagrams from all else: UDP between here and one of the endpoints,
// whose payload starts as a WireGuard message does (§5.4: a type from 1 to 4
// and three zero bytes). It accepts them if own is set, and otherwise accepts
// the rest, without TCP between loopback addresses on lo if that is said.
func tunnelFilter(endpoints []netip.AddrPort, own, noLoopback bool) ([]unix.SockFilter, error) {
	match, other := bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 1 << 18}
	if own {
		// One byte is enough to be counted.
		match, other = bpf.RetConstant{Val: 1}, bpf.RetConstant{Val: 0}
	}
	var prog []bpf.Instruction
	if noLoopback {
		prog = append(loopback4(), loopback6()...)
	}
	for _, e := range endpoints {
		for _, toPeer := range []bool{true, false} {
			prog = append(prog, endpointBlock(e, toPeer, match)...)
		}
	}
	prog = append(prog, other)
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, nil
}

// endpointBlock returns instructions that end in match if the packet belongs to
// e in one direction, and run off their end if not.
func endpointBlock(e netip.AddrPort, toPeer bool, match bpf.Instruction) []bpf.Instruction {
	var b block
	addr, port := e.Addr().AsSlice(), uint32(e.Port())
	portOffset := uint32(0)
	if toPeer {
		portOffset = 2
	}
	b.load(bpf.LoadExtension{Num: bpf.ExtProto})
	if e.Addr().Is4() {
		b.want(unix.ETH_P_IP)
		b.load(bpf.LoadAbsolute{Off: v4Protocol, Size: 1})
		b.want(unix.IPPROTO_UDP)
		b.load(bpf.LoadAbsolute{Off: v4Fragment, Size: 2})
		b.wantNone(0x1fff) // a later fragment has no ports
		off := uint32(v4Src)
		if toPeer {
			off = v4Dst
		}
		b.load(bpf.LoadAbsolute{Off: off, Size: 4})
		b.want(binary.BigEndian.Uint32(addr))
		b.load(bpf.LoadMemShift{Off: 0}) // X = length of the header
	} else {
		b.want(unix.ETH_P_IPV6)
		b.load(bpf.LoadAbsolute{Off: v6NextHeader, Size: 1})
		b.want(unix.IPPROTO_UDP)
		off := uint32(v6Src)
		if toPeer {
			off = v6Dst
		}
		for i := uint32(0); i < 16; i += 4 {
			b.load(bpf.LoadAbsolute{Off: off + i, Size: 4})
			b.want(binary.BigEndian.Uint32(addr[i:]))
		}
		b.load(bpf.LoadConstant{Dst: bpf.RegX, Val: v6Len})
	}
	b.load(bpf.LoadIndirect{Off: portOffset, Size: 2})
	b.want(port)
	const udpHeader = 8
	b.load(bpf.LoadIndirect{Off: udpHeader, Size: 4})
	b.wantNone(0x00ffffff)
	b.unwanted(0)
	b.atMost(0x04000000)
	return b.end(match)
}

// loopbackLink is the number of lo in every network namespace.
const loopbackLink = 1

// loopback4 returns instructions that drop TCP from 127.0.0.0/8 to 127.0.0.0/8 on lo.
func loopback4() []bpf.Instruction {
	var b block
	b.load(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
	b.want(loopbackLink)
	b.load(bpf.LoadExtension{Num: bpf.ExtProto})
	b.want(unix.ETH_P_IP)
	b.load(bpf.LoadAbsolute{Off: v4Protocol, Size: 1})
	b.want(unix.IPPROTO_TCP)
	b.load(bpf.LoadAbsolute{Off: v4Src, Size: 1})
	b.want(127)
	b.load(bpf.LoadAbsolute{Off: v4Dst, Size: 1})
	b.want(127)
	return b.end(bpf.RetConstant{Val: 0})
}

// loopback6 is loopback4 from ::1 to ::1.
func loopback6() []bpf.Instruction {
	var b block
	b.load(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
	b.want(loopbackLink)
	b.load(bpf.LoadExtension{Num: bpf.ExtProto})
	b.want(unix.ETH_P_IPV6)
	b.load(bpf.LoadAbsolute{Off: v6NextHeader, Size: 1})
	b.want(unix.IPPROTO_TCP)
	for word := range uint32(8) { // source and destination
		b.load(bpf.LoadAbsolute{Off: v6Src + 4*word, Size: 4})
		b.want(word % 4 / 3) // 0, 0, 0, 1
	}
	return b.end(bpf.RetConstant{Val: 0})
}

// A block is a run of tests that all jump behind it when they fail.
type block struct {
	prog []bpf.Instruction
	open []int // jumps whose target is the end
}

func (b *block) load(i bpf.Instruction) { b.prog = append(b.prog, i) }

func (b *block) test(c bpf.JumpTest, v uint32) {
	b.open = append(b.open, len(b.prog))
	b.prog = append(b.prog, bpf.JumpIf{Cond: c, Val: v})
}

// Each of these goes on if the accumulator is as the name says.
func (b *block) want(v uint32)        { b.test(bpf.JumpNotEqual, v) }
func (b *block) unwanted(v uint32)    { b.test(bpf.JumpEqual, v) }
func (b *block) atMost(v uint32)      { b.test(bpf.JumpGreaterThan, v) }
func (b *block) wantNone(bits uint32) { b.test(bpf.JumpBitsSet, bits) }

// end closes the block with the verdict for packets that passed every test.
func (b *block) end(verdict bpf.Instruction) []bpf.Instruction {
	b.prog = append(b.prog, verdict)
	for _, i := range b.open {
		j := b.prog[i].(bpf.JumpIf)
		j.SkipTrue = uint8(len(b.prog) - i - 1)
		b.prog[i] = j
	}
	return b.prog
}
