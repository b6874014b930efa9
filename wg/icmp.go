package wg

import (
	"encoding/binary"
	"time"

	"adit/packet"
)

const (
	icmpPerSecond = 100
	icmpBurst     = 50
	icmpQuoted    = 548  // RFC 1812 §4.3.2.3: the whole message is at most 576 bytes
	icmp6Quoted   = 1232 // RFC 4443 §2.4 (c): at most 1280 bytes
)

// rejects collects answers for packets that have no way to go, so that their
// senders need not wait for a timeout (device.c, wg_xmit: host unreachable,
// address unreachable). A nil *rejects takes nothing. It belongs to the
// outbound goroutine.
type rejects struct {
	batch *packet.Batch
	now   Instant
	full  Instant // when the bucket that limits the answers is full again
}

// add answers pkt, an IP packet whose version and header length were checked.
func (r *rejects) add(pkt []byte) {
	if r == nil || !answerable(pkt) {
		return
	}
	const interval = time.Second / icmpPerSecond
	full := max(r.full, r.now).after(interval)
	if full > r.now.after(icmpBurst*interval) {
		return
	}
	r.full = full
	if pkt[0]>>4 == 4 {
		quoted := pkt[:min(len(pkt), icmpQuoted)]
		if m := r.batch.Append(28 + len(quoted)); m != nil {
			hostUnreachable(m, quoted)
		}
		return
	}
	quoted := pkt[:min(len(pkt), icmp6Quoted)]
	if m := r.batch.Append(48 + len(quoted)); m != nil {
		addressUnreachable(m, quoted)
	}
}

// answerable reports whether pkt may be answered with an ICMP error: not if it
// is one, goes to many, comes from nobody, or is a later fragment (RFC 1122
// §3.2.2, RFC 4443 §2.4 (e)).
func answerable(pkt []byte) bool {
	if pkt[0]>>4 == 4 {
		header := int(pkt[0]&15) * 4
		if header < 20 || len(pkt) < header || binary.BigEndian.Uint16(pkt[6:])&0x1fff != 0 {
			return false
		}
		src, dst := pkt[12:16], pkt[16:20]
		if src[0] == 0 || src[0] >= 224 || dst[0] >= 224 {
			return false
		}
		if pkt[9] == 1 { // ICMP: only echo, timestamp and information requests
			return len(pkt) > header && (pkt[header] == 8 || pkt[header] == 13 || pkt[header] == 15)
		}
		return true
	}
	src, dst := address6(pkt[8:24]), address6(pkt[24:40])
	if src == (address{}) || pkt[8] == 0xff || dst.hi>>56 == 0xff {
		return false
	}
	if pkt[6] == 58 { // ICMPv6: informational messages only
		return len(pkt) > 40 && pkt[40] >= 128
	}
	return pkt[6] != 44 || len(pkt) >= 48 && binary.BigEndian.Uint16(pkt[42:])&0xfff8 == 0
}

// hostUnreachable fills m with an ICMP type 3 code 1 that quotes pkt. It comes
// from the address that was not reached: we have no address of our own.
func hostUnreachable(m, pkt []byte) {
	clear(m[:28])
	m[0], m[8], m[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)))
	copy(m[12:16], pkt[16:20])
	copy(m[16:20], pkt[12:16])
	binary.BigEndian.PutUint16(m[10:], checksum(0, m[:20]))
	m[20], m[21] = 3, 1
	copy(m[28:], pkt)
	binary.BigEndian.PutUint16(m[22:], checksum(0, m[20:]))
}

// addressUnreachable fills m with an ICMPv6 type 1 code 3 that quotes pkt.
func addressUnreachable(m, pkt []byte) {
	clear(m[:48])
	m[0], m[6], m[7] = 0x60, 58, 64
	binary.BigEndian.PutUint16(m[4:], uint16(len(m)-40))
	copy(m[8:24], pkt[24:40])
	copy(m[24:40], pkt[8:24])
	m[40], m[41] = 1, 3
	copy(m[48:], pkt)
	pseudo := uint32(len(m)-40) + 58 // RFC 8200 §8.1; the addresses follow
	binary.BigEndian.PutUint16(m[42:], checksum(pseudo+sum16(m[8:40]), m[40:]))
}

// checksum returns the Internet checksum of b, with sum added (RFC 1071).
func checksum(sum uint32, b []byte) uint16 {
	sum += sum16(b)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func sum16(b []byte) (sum uint32) {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}
