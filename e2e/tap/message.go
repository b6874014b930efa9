package tap

import (
	"encoding/binary"
	"fmt"
)

// The four messages and their lengths: §5.4.
const (
	Initiation = 1 // 148 bytes
	Response   = 2 // 92
	Cookie     = 3 // 64
	Data       = 4 // 32 and the padded packet

	InitiationLen, ResponseLen, CookieLen, KeepaliveLen = 148, 92, 64, 32
)

// A Message is what of a WireGuard message is in clear. Fields that its type
// has not are zero.
type Message struct {
	Type      int
	Sender    uint32 // index of whoever sends it
	Receiver  uint32 // index of whoever gets it
	Counter   uint64 // of data
	Ephemeral [32]byte
	Timestamp [28]byte // of an initiation, sealed
	MAC2      [16]byte
	Len       int
}

// Message reads the payload; false if that is not one of the four messages with
// a length that such a message has.
func (p *Packet) Message() (m Message, ok bool) {
	b := p.Payload
	if len(b) < 4 || b[1]|b[2]|b[3] != 0 { // three reserved bytes
		return m, false
	}
	m.Type, m.Len = int(b[0]), len(b)
	le := binary.LittleEndian
	switch {
	case m.Type == Initiation && m.Len == InitiationLen:
		// type (4), sender (4), ephemeral (32), static (48), timestamp (28), mac1 (16), mac2 (16).
		m.Sender = le.Uint32(b[4:])
		m.Ephemeral, m.Timestamp, m.MAC2 = [32]byte(b[8:]), [28]byte(b[88:]), [16]byte(b[132:])
	case m.Type == Response && m.Len == ResponseLen:
		// type (4), sender (4), receiver (4), ephemeral (32), empty (16), mac1 (16), mac2 (16).
		m.Sender, m.Receiver = le.Uint32(b[4:]), le.Uint32(b[8:])
		m.Ephemeral, m.MAC2 = [32]byte(b[12:]), [16]byte(b[76:])
	case m.Type == Cookie && m.Len == CookieLen:
		m.Receiver = le.Uint32(b[4:])
	case m.Type == Data && m.Len >= KeepaliveLen:
		// type (4), receiver (4), counter (8), packet, tag (16).
		m.Receiver, m.Counter = le.Uint32(b[4:]), le.Uint64(b[8:])
	default:
		return m, false
	}
	return m, true
}

// HasMAC2 reports whether the sender of m had a cookie.
func (m *Message) HasMAC2() bool { return m.MAC2 != [16]byte{} }

func (m Message) String() string {
	switch m.Type {
	case Initiation:
		return fmt.Sprintf("initiation of %08x, mac2 %v", m.Sender, m.HasMAC2())
	case Response:
		return fmt.Sprintf("response of %08x to %08x, mac2 %v", m.Sender, m.Receiver, m.HasMAC2())
	case Cookie:
		return fmt.Sprintf("cookie for %08x", m.Receiver)
	}
	return fmt.Sprintf("data for %08x, counter %d, %d bytes", m.Receiver, m.Counter, m.Len)
}
