package wgtest

import (
	"bytes"
	"encoding/binary"
	"time"
)

// An Eavesdropper hears every datagram that anybody sends, at the sender's
// cable, and can read what a message says in clear (§5.4). She knows no key.
// Her assertions are sentences: eve.NeverSeesANonceTwice(t).
type Eavesdropper struct {
	Heard []Heard

	// Tap, if not nil, is called for each datagram as it is sent.
	Tap func(*Heard)
}

// A Heard is a datagram that was sent. It must not be changed.
type Heard struct {
	At   time.Duration
	Host *Host // who sent it; nil: it was injected
	Datagram
}

// T is as much of testing.T as an assertion needs.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// The types of messages (§5.4), as the eavesdropper tells them.
const (
	Initiation = 1
	Response   = 2
	Cookie     = 3
	Data       = 4
)

func (e *Eavesdropper) hear(now time.Duration, h *Host, d *Datagram) {
	e.Heard = append(e.Heard, Heard{now, h, *d})
	if e.Tap != nil {
		e.Tap(&e.Heard[len(e.Heard)-1])
	}
}

// Forget lets go of what was heard until now.
func (e *Eavesdropper) Forget() { e.Heard = nil }

// Kind returns the type of the message, 0 if it is none.
func (h *Heard) Kind() uint32 {
	if len(h.Data) < 4 {
		return 0
	}
	kind := binary.LittleEndian.Uint32(h.Data)
	switch {
	case kind == Initiation && len(h.Data) == 148, kind == Response && len(h.Data) == 92,
		kind == Cookie && len(h.Data) == 64, kind == Data && len(h.Data) >= 32:
		return kind
	}
	return 0
}

// sender returns the sender index of a handshake message.
func (h *Heard) sender() uint32 { return binary.LittleEndian.Uint32(h.Data[4:]) }

// receiver returns the receiver index of a response, cookie or data message.
func (h *Heard) receiver() uint32 {
	if h.Kind() == Response {
		return binary.LittleEndian.Uint32(h.Data[8:])
	}
	return binary.LittleEndian.Uint32(h.Data[4:])
}

// counter returns the counter of a data message.
func (h *Heard) counter() uint64 { return binary.LittleEndian.Uint64(h.Data[8:]) }

// ephemeral returns the ephemeral key of an initiation or a response.
func (h *Heard) ephemeral() []byte {
	if h.Kind() == Initiation {
		return h.Data[8:40]
	}
	return h.Data[12:44]
}

// each calls f for what hosts sent of that kind, 0: of any; the injected is
// left out.
func (e *Eavesdropper) each(kind uint32, f func(*Heard)) {
	for i := range e.Heard {
		h := &e.Heard[i]
		if h.Host != nil && (kind == 0 || h.Kind() == kind) {
			f(h)
		}
	}
}

// Sent returns what host sent of that kind, 0: of any, copies of the same
// bytes left out.
func (e *Eavesdropper) Sent(host *Host, kind uint32) (list []*Heard) {
	var last []byte
	e.each(kind, func(h *Heard) {
		if h.Host == host && !bytes.Equal(last, h.Data) {
			list = append(list, h)
			last = h.Data
		}
	})
	return list
}
