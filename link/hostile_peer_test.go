package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"adit/packet"
)

// oddRun fills b with packets that can be merged: n of size bytes of payload, with
// options bytes of TCP options, or of UDP.
func oddRun(b *packet.Batch, src, dst netip.Addr, proto uint8, n, size, options int) {
	b.Reset()
	ip, transport := 20, 8
	if src.Is6() {
		ip = 40
	}
	if proto == packet.ProtoTCP {
		transport = 20 + options
	}
	for i := range n {
		pkt := b.Append(ip + transport + size)
		if pkt == nil {
			return
		}
		clear(pkt)
		if src.Is4() {
			pkt[0], pkt[6], pkt[8], pkt[9] = 0x45, 0x40, 64, proto
			binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
			copy(pkt[12:], src.AsSlice())
			copy(pkt[16:], dst.AsSlice())
			binary.BigEndian.PutUint16(pkt[10:], ^packet.Fold(packet.Sum(0, pkt[:20])))
		} else {
			pkt[0], pkt[6], pkt[7] = 0x60, proto, 64
			binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
			copy(pkt[8:], src.AsSlice())
			copy(pkt[24:], dst.AsSlice())
		}
		tp := pkt[ip:]
		tp[1], tp[3] = 9, 9
		if proto == packet.ProtoTCP {
			binary.BigEndian.PutUint32(tp[4:], uint32(i*size))
			tp[12], tp[13] = uint8(transport/4)<<4, 0x10
		} else {
			binary.BigEndian.PutUint16(tp[4:], uint16(len(tp)))
			tp[6] = 1
		}
	}
}

// Who the peer is may choose what comes one after the other: nothing that is
// merged for it is refused by the kernel, which would end the merging of what all
// others send, until the tunnel is opened again.
func TestNothingThatAPeerSendsEndsMerging(t *testing.T) {
	addrs := map[string][2]netip.Addr{}
	for name, a := range map[string][2]string{
		"v4": {"10.9.0.2", "10.9.0.1"}, "v6": {"fd09::2", "fd09::1"}, "v4 elsewhere": {"0.0.0.0", "255.255.255.255"},
		"v4 self": {"10.9.0.1", "10.9.0.1"}, "v6 multicast": {"ff02::1", "ff02::1"}, "v6 nowhere": {"::", "::"},
	} {
		addrs[name] = [2]netip.Addr{netip.MustParseAddr(a[0]), netip.MustParseAddr(a[1])}
	}
	for _, m := range deviceMakers {
		t.Run(m.name, func(t *testing.T) {
			var count tally
			dev := m.make(newSpace(t), counting(&count), "10.9.0.1/24", "fd09::1/64")
			var out *injector
			switch d := dev.(type) {
			case *TUN:
				out = &d.out
			case *Veth:
				out = &d.out
			}
			tcp, udp := out.noTCP.Load(), out.noUDP.Load()
			b := packet.NewBatch(packet.Room{})
			for name, a := range addrs {
				for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
					for _, size := range []int{1, 2, 3, 100, 511, 513, 1380, 1460, 4000, 9000, 20000, 32000} {
						for _, n := range []int{2, 3, 63, 64, 65, 127, 128} {
							for _, options := range []int{0, 12, 40} {
								lost := out.lost.Load()
								oddRun(b, a[0], a[1], proto, n, size, options)
								if err := dev.Write(b); err != nil {
									t.Fatal(err)
								}
								what := fmt.Sprintf("%s, protocol %d: %d packets of %d bytes and %d of options", name, proto, n, size, options)
								if out.noTCP.Load() != tcp || out.noUDP.Load() != udp {
									t.Fatalf("%s: refused", what)
								}
								if out.lost.Load() != lost && size < 1380 {
									t.Fatalf("%s: lost", what)
								}
							}
						}
					}
				}
			}
			if count.supersOut.Load() == 0 {
				t.Error("nothing was merged")
			}
		})
	}
}
