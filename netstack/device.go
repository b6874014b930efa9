package netstack

import (
	"net"

	"adit/packet"
)

// A device is the router as the engine sees it: it reads what the program
// sends and may send, and writes what the tunnel brings. gVisor's packets do
// not come by Read: they are pushed upstream as they are made.
type device struct{ s *Stack }

var _ packet.Device = device{}

// Read fills b with packets of the capture that may enter the tunnel. Without
// a capture it waits for Close.
func (d device) Read(b *packet.Batch) error {
	if d.s.capture == nil {
		<-d.s.closed
		return net.ErrClosed
	}
	for {
		if err := d.s.capture.Read(b); err != nil {
			return err
		}
		if d.s.filterOutgoing(b) > 0 {
			return nil
		}
	}
}

// Write gives the packets of b, which come out of the tunnel, to the program
// or to gVisor, or drops them.
func (d device) Write(b *packet.Batch) error {
	select {
	case <-d.s.closed:
		return net.ErrClosed
	default:
	}
	if d.s.filterIncoming(b) > 0 && d.s.capture != nil {
		return d.s.capture.Write(b)
	}
	return nil
}

func (d device) MTU() int { return d.s.mtu }

// Close ends the device, and the capture with it. gVisor stays until
// [Stack.Close], but its packets have nowhere to go.
func (d device) Close() error {
	d.s.closeDevice()
	return nil
}

// filterOutgoing drops the packets of b that may not enter the tunnel, answers
// those that the tunnel does not cover, and returns how many are left.
func (s *Stack) filterOutgoing(b *packet.Batch) int {
	var h header
	now := s.router.now()
	left := 0
	var answers *sender
	for i := range b.Len() {
		pkt := b.Packet(i)
		if len(pkt) == 0 {
			continue
		}
		switch s.router.outgoing(&h, pkt, now) {
		case pass:
			left++
			continue
		case unreachable:
			answers = s.answerUnreachable(answers, pkt, now)
		}
		b.Drop(i)
	}
	if answers != nil {
		// An error here would be the capture's end, which Read reports.
		s.capture.Write(answers.batch)
		s.senders.Put(answers)
	}
	return left
}

// routeIncoming gives to gVisor what is gVisor's, drops what may not come in,
// and returns how many packets of b are left for the program.
func (s *Stack) routeIncoming(b *packet.Batch) int {
	var h header
	now := s.router.now()
	left := 0
	var in *receiver // most batches are all for the program
	for i := range b.Len() {
		pkt := b.Packet(i)
		if len(pkt) == 0 {
			continue
		}
		v := s.router.incoming(&h, pkt, now)
		if v == local || v == both {
			if in == nil {
				in = s.link.receive(b)
			}
			in.add(b, i)
		}
		if v == pass || v == both {
			left++
		} else {
			b.Drop(i)
		}
	}
	in.end()
	return left
}
