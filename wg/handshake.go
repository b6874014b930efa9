package wg

import "encoding/binary"

// An initiation is a handshake that we started: what it takes to understand
// the response. The peer's role as responder needs no state here: a response
// is made in one go. So when both start at once, both responses are good.
type initiation struct {
	state     noiseState
	ephemeral [32]byte // private
	index     uint32
	sent      Instant
	msg       [initiationLen]byte // as sent, to be sent to late candidates too
}

func (h *initiation) clear() { *h = initiation{} }

// late reports whether it is too late for a response: the next initiation would
// have gone out by now (§6.1), had one been wanted. The peer's key is as old as
// the response: ours must not live on when that has ended, as it would if
// somebody could hold the response back.
func (h *initiation) late(now Instant) bool {
	return h.sent.since(now) >= rekeyTimeout+rekeyTimeoutJitter
}

// makeInitiation fills h with an initiation to the peer (§5.4.2). The macs are
// left to the cookie jar.
func (id *identity) makeInitiation(h *initiation, p *peer, ts timestamp, random func([]byte)) error {
	random(h.ephemeral[:])
	public := (&PrivateKey{b: h.ephemeral}).Public()
	m := h.msg[:]
	binary.LittleEndian.PutUint32(m, typeInitiation)
	binary.LittleEndian.PutUint32(m[4:], h.index)
	copy(m[initiationEphemeral:], public[:])

	s := &h.state
	*s = newNoiseState(p.key)
	s.mixKey(public[:])
	s.mixHash(public[:])
	shared, err := dh(&h.ephemeral, (*[32]byte)(&p.key))
	if err != nil {
		return err
	}
	k := s.mixKey2(shared[:])
	clear(shared[:])
	s.seal(m[initiationStatic:initiationTimestamp], &k, id.public[:])
	k = s.mixKey2(p.static[:])
	s.seal(m[initiationTimestamp:initiationMAC1], &k, ts[:])
	return nil
}

// A received initiation, half-way or wholly understood.
type received struct {
	state     noiseState
	static    PublicKey // who it says it is from; proved by the timestamp
	ephemeral [32]byte
	sender    uint32
}

// openStatic finds out who msg is from (§5.4.2). Whoever knows our public key
// can make a message that gets this far.
func (id *identity) openStatic(r *received, msg []byte) error {
	r.sender = binary.LittleEndian.Uint32(msg[4:])
	r.ephemeral = [32]byte(msg[initiationEphemeral:])
	s := &r.state
	*s = newNoiseState(id.public)
	s.mixKey(r.ephemeral[:])
	s.mixHash(r.ephemeral[:])
	shared, err := id.dh(&r.ephemeral)
	if err != nil {
		return err
	}
	k := s.mixKey2(shared[:])
	clear(shared[:])
	return s.open(r.static[:], &k, msg[initiationStatic:initiationTimestamp])
}

// openTimestamp proves that msg is from p, whose key openStatic found, and
// returns its timestamp.
func (r *received) openTimestamp(p *peer, msg []byte) (ts timestamp, err error) {
	k := r.state.mixKey2(p.static[:])
	err = r.state.open(ts[:], &k, msg[initiationTimestamp:initiationMAC1])
	return ts, err
}

// makeResponse fills m, of responseLen bytes, with the answer to r (§5.4.3),
// sent under index, and returns the session's keys: to send with, to receive
// with. r is forgotten.
func (r *received) makeResponse(m []byte, index uint32, psk *PresharedKey, random func([]byte)) (send, recv [32]byte, err error) {
	defer r.state.clear()
	var ephemeral PrivateKey
	random(ephemeral.b[:])
	defer ephemeral.Zero()
	public := ephemeral.Public()
	binary.LittleEndian.PutUint32(m, typeResponse)
	binary.LittleEndian.PutUint32(m[4:], index)
	binary.LittleEndian.PutUint32(m[responseReceiver:], r.sender)
	copy(m[responseEphemeral:], public[:])

	s := &r.state
	s.mixHash(public[:])
	s.mixKey(public[:])
	if err := s.mixDH(&ephemeral.b, &r.ephemeral); err != nil {
		return send, recv, err
	}
	if err := s.mixDH(&ephemeral.b, (*[32]byte)(&r.static)); err != nil {
		return send, recv, err
	}
	k := s.mixPSK(psk)
	s.seal(m[responseEmpty:responseMAC1], &k, nil)
	recv, send = s.transportKeys()
	return send, recv, nil
}

// openResponse understands the response msg to h, from the owner of h's peer
// alone, and returns the session's keys and the peer's index. h stays as it is
// if msg is not authentic: the real response may still come.
func (id *identity) openResponse(h *initiation, msg []byte, psk *PresharedKey) (send, recv [32]byte, sender uint32, err error) {
	sender = binary.LittleEndian.Uint32(msg[4:])
	ephemeral := [32]byte(msg[responseEphemeral:])
	s := h.state
	defer s.clear()
	s.mixHash(ephemeral[:])
	s.mixKey(ephemeral[:])
	if err = s.mixDH(&h.ephemeral, &ephemeral); err != nil {
		return send, recv, 0, err
	}
	shared, err := id.dh(&ephemeral)
	if err != nil {
		return send, recv, 0, err
	}
	s.mixKey(shared[:])
	clear(shared[:])
	k := s.mixPSK(psk)
	if err = s.open(nil, &k, msg[responseEmpty:responseMAC1]); err != nil {
		return send, recv, 0, err
	}
	send, recv = s.transportKeys()
	return send, recv, sender, nil
}
