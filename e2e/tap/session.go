package tap

import (
	"fmt"
	"time"
)

// A Session is a handshake that was answered, and the data under its keys.
type Session struct {
	Initiator, Responder uint32    // the indices of both sides
	Began                time.Time // when the response was on the cable
	ByOut                bool      // the tapped machine is the initiator

	Out, In Direction // data sent and received by the tapped machine
}

// A Direction is the data of a session one way.
type Direction struct {
	Messages    int
	Keepalives  int
	Counters    []uint64 // in the order on the cable
	First, Last time.Time
}

// Sessions sorts messages by session. It is an error if data belongs to no
// handshake that was seen, or if a response answers none.
func Sessions(packets []Packet) ([]*Session, error) {
	var list []*Session
	asked := map[uint32]bool{}           // initiations, by index
	direction := map[uint32]*Direction{} // by the receiver of data
	for _, p := range packets {
		m, ok := p.Message()
		if !ok {
			continue
		}
		switch m.Type {
		case Initiation:
			asked[m.Sender] = true
		case Response:
			if !asked[m.Receiver] {
				return list, fmt.Errorf("%v answers no initiation", p)
			}
			s := &Session{Initiator: m.Receiver, Responder: m.Sender, Began: p.At, ByOut: !p.Out}
			list = append(list, s)
			direction[s.Initiator], direction[s.Responder] = &s.In, &s.Out
			if !s.ByOut {
				direction[s.Initiator], direction[s.Responder] = &s.Out, &s.In
			}
		case Data:
			d := direction[m.Receiver]
			if d == nil {
				return list, fmt.Errorf("%v belongs to no handshake", p)
			}
			if d.Messages == 0 {
				d.First = p.At
			}
			d.Messages++
			d.Last = p.At
			d.Counters = append(d.Counters, m.Counter)
			if m.Len == KeepaliveLen {
				d.Keepalives++
			}
		}
	}
	return list, nil
}

// Gaps returns what is wrong with the order of counters, "" if they count up
// from 0 by one (§5.4.6).
func (d *Direction) Gaps() string {
	for i, c := range d.Counters {
		if c != uint64(i) {
			return fmt.Sprintf("message %d has counter %d", i, c)
		}
	}
	return ""
}
