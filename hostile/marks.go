package hostile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Mark is what tells whose a packet is.
type Mark struct {
	ID  int    // of the attempt
	Key string // the same for the same packet, wherever it is seen
}

// find looks for the marks of this world in an IP packet.
func (w *World) find(etherType uint16, b []byte) []Mark {
	if m, ok := w.findCanary(b); ok {
		return []Mark{m}
	}
	raw, err := hex.DecodeString(w.Token)
	if err != nil {
		return nil
	}
	// A report of groups may have several.
	if marks := w.findTails(b, raw); marks != nil {
		return marks
	}
	switch {
	case etherType == unix.ETH_P_IP && len(b) >= 20:
		if b[9] == unix.IPPROTO_IGMP {
			return w.findGroups(b[20:], raw)
		}
		dst, _ := netip.AddrFromSlice(b[16:20])
		return w.findPort(b[9], dst, b[min(int(b[0]&15)*4, len(b)):])
	case etherType == unix.ETH_P_IPV6 && len(b) >= 40:
		dst, _ := netip.AddrFromSlice(b[24:40])
		return w.findPort(b[6], dst, b[40:])
	}
	return nil
}

// betweenLoopbacks reports whether an IP packet has two addresses of loopback.
func betweenLoopbacks(etherType uint16, b []byte) bool {
	switch {
	case etherType == unix.ETH_P_IP && len(b) >= 20:
		return b[12] == 127 && b[16] == 127
	case etherType == unix.ETH_P_IPV6 && len(b) >= 40:
		local := netip.IPv6Loopback().As16()
		return bytes.Equal(b[8:24], local[:]) && bytes.Equal(b[24:40], local[:])
	}
	return false
}

// findTails finds the token's bytes, each with a number behind it.
func (w *World) findTails(b, raw []byte) (marks []Mark) {
	for i := bytes.Index(b, raw); i >= 0 && len(b) >= i+8; i = bytes.Index(b, raw) {
		if id := int(binary.BigEndian.Uint16(b[i+6:])); w.known(id) {
			marks = append(marks, Mark{id, fmt.Sprintf("tail-%03d", id)})
		}
		b = b[i+8:]
	}
	return marks
}

// findGroups finds groups of IPv4 in a report of IGMP.
func (w *World) findGroups(b, raw []byte) (marks []Mark) {
	start := []byte{239, raw[0]}
	for i := bytes.Index(b, start); i >= 0 && len(b) > i+3; i = bytes.Index(b, start) {
		if id := int(b[i+2]&0x0f)<<8 | int(b[i+3]); w.known(id) && b[i+2]&0xf0 == raw[1]&0xf0 {
			marks = append(marks, Mark{id, fmt.Sprintf("group-%03d", id)})
			b = b[i+4:]
			continue
		}
		b = b[i+2:]
	}
	return marks
}

func (w *World) known(id int) bool { return id > 0 && id <= len(attempts) }

func (w *World) findCanary(b []byte) (Mark, bool) {
	start := []byte("adit-" + w.Token + "-")
	i := bytes.Index(b, start)
	if i < 0 || len(b) < i+canaryLen {
		return Mark{}, false
	}
	text := string(b[i : i+canaryLen])
	id, err := strconv.Atoi(text[len(start) : len(start)+3])
	return Mark{id, text}, err == nil && w.known(id)
}

// findPort knows the first packet of a connection, which carries nothing, by the
// port of the attempt and one of our addresses. All of these protocols begin
// with the two ports.
func (w *World) findPort(protocol byte, dst netip.Addr, b []byte) []Mark {
	switch protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE:
	default:
		return nil
	}
	if len(b) < 4 || dst != w.Host4 && dst != w.Host6 && dst != w.Far4 && dst != w.Far6 && dst != w.Near4 && dst != w.Near6 {
		return nil
	}
	id := int(binary.BigEndian.Uint16(b[2:])) - int(w.Base)
	if !w.known(id) {
		return nil
	}
	return []Mark{{id, fmt.Sprintf("port-%03d-%v", id, dst)}}
}

// Through returns the marks in a capture of what went into the tunnel, a file as
// --pcap inner=FILE writes it: raw IP packets, nanoseconds or not (pcap-savefile(5)).
func (w *World) Through(file string) (map[Mark]bool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const fileHeader, recordHeader = 24, 16
	through := make(map[Mark]bool)
	if len(b) < fileHeader {
		return through, nil
	}
	for b = b[fileHeader:]; len(b) >= recordHeader; {
		n := int(binary.LittleEndian.Uint32(b[8:])) // captured length
		b = b[recordHeader:]
		if n > len(b) {
			break // it is being written
		}
		pkt := b[:n]
		b = b[n:]
		kind := uint16(unix.ETH_P_IP)
		if len(pkt) > 0 && pkt[0]>>4 == 6 {
			kind = unix.ETH_P_IPV6
		}
		for _, m := range w.find(kind, pkt) {
			through[m] = true
		}
	}
	return through, nil
}
