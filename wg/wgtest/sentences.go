package wgtest

import (
	"bytes"
	"math"
	"time"
)

// NeverSeesANonceTwice fails if a host sealed two messages with one nonce under
// one key (§5.4.6). A key is what a handshake made: for her, the receiver index
// since a response last named it.
func (e *Eavesdropper) NeverSeesANonceTwice(t T) {
	t.Helper()
	type nonce struct {
		host    *Host
		index   uint32
		key     int
		counter uint64
	}
	used := make(map[nonce]time.Duration)
	e.eachUnderItsKey(func(h *Heard, key int, _ time.Duration) {
		n := nonce{h.Host, h.receiver(), key, h.counter()}
		if before, twice := used[n]; twice {
			t.Fatalf("%v used nonce %d of index %08x at %v and again at %v", n.host, n.counter, n.index, before, h.At)
		}
		used[n] = h.At
	})
}

// SeesNoKeyOlderThan fails if a host sent data under a key whose response is
// older than age: Reject-After-Time and what a response takes to arrive (§6.2).
func (e *Eavesdropper) SeesNoKeyOlderThan(t T, age time.Duration) {
	t.Helper()
	e.eachUnderItsKey(func(h *Heard, _ int, made time.Duration) {
		if got := h.At - made; got >= age {
			t.Fatalf("%v sent data at %v under a key that was %v old", h.Host, h.At, got)
		}
	})
}

// eachUnderItsKey calls f for each data message, with the number of its key
// and when the response was sent that made it.
func (e *Eavesdropper) eachUnderItsKey(f func(h *Heard, key int, made time.Duration)) {
	type key struct {
		n    int
		made time.Duration
	}
	keys, n := make(map[uint32]key), 0
	responses := make(map[string]bool)
	e.each(0, func(h *Heard) {
		switch h.Kind() {
		case Response:
			if !responses[string(h.Data)] { // a response sent again makes no new key
				responses[string(h.Data)] = true
				n++
				keys[h.sender()], keys[h.receiver()] = key{n, h.At}, key{n, h.At}
			}
		case Data:
			k := keys[h.receiver()]
			f(h, k.n, k.made)
		}
	})
}

// SeesOneHandshakePer fails if a host began two handshakes with one peer within
// d: "Under no circumstances will WireGuard send an initiation message more
// than once every Rekey-Timeout" (§6.1). The same bytes again, or to another
// address, are the same handshake.
func (e *Eavesdropper) SeesOneHandshakePer(t T, d time.Duration) {
	t.Helper()
	type pair struct {
		host  *Host
		about string
	}
	last := make(map[pair]*Heard)
	e.each(Initiation, func(h *Heard) {
		p := pair{h.Host, h.About}
		before := last[p]
		if before != nil && bytes.Equal(before.Data, h.Data) {
			return
		}
		if before != nil && h.At-before.At < d {
			t.Fatalf("%v began handshakes with %s at %v and %v later", h.Host, h.About, before.At, h.At-before.At)
		}
		last[p] = h
	})
}

// SeesDataInMultiplesOf16 fails if the size of a data message tells that of the
// packet in it more closely than to 16 bytes (§5.4.6). Padding does not go
// beyond the MTU: a packet that fills it may show (send.c,
// calculate_skb_padding).
func (e *Eavesdropper) SeesDataInMultiplesOf16(t T, mtu int) {
	t.Helper()
	e.each(Data, func(h *Heard) {
		if n := len(h.Data); n%16 != 0 && n != 32+mtu {
			t.Fatalf("%v sent %d bytes of data at %v", h.Host, n, h.At)
		}
	})
}

// SeesNoClearText fails if a host sent one of the texts in clear.
func (e *Eavesdropper) SeesNoClearText(t T, texts ...[]byte) {
	t.Helper()
	e.each(0, func(h *Heard) {
		for _, text := range texts {
			if bytes.Contains(h.Data, text) {
				t.Fatalf("%v sent %q in clear at %v", h.Host, text, h.At)
			}
		}
	})
}

// SeesOnlyECNInDataTOS fails if the outer header of a data message says more
// about the packet in it than its congestion marks (RFC 6040; send.c: "DSCP
// 0"), if an initiation or a response says something other than handshake, or a
// cookie reply anything (send.c, wg_packet_send_handshake_cookie).
func (e *Eavesdropper) SeesOnlyECNInDataTOS(t T, handshake uint8) {
	t.Helper()
	e.each(0, func(h *Heard) {
		switch kind := h.Kind(); {
		case kind == Data && h.TOS&^3 != 0:
			t.Fatalf("%v sent data with TOS %#x at %v", h.Host, h.TOS, h.At)
		case kind == Cookie && h.TOS != 0:
			t.Fatalf("%v sent a cookie reply with TOS %#x at %v", h.Host, h.TOS, h.At)
		case (kind == Initiation || kind == Response) && h.TOS != handshake:
			t.Fatalf("%v sent a message of type %d with TOS %#x at %v, want %#x", h.Host, kind, h.TOS, h.At, handshake)
		}
	})
}

// SeesOnlyMessages fails if a host sent what is no WireGuard message (§5.4).
func (e *Eavesdropper) SeesOnlyMessages(t T) {
	t.Helper()
	e.each(0, func(h *Heard) {
		if h.Kind() == 0 {
			t.Fatalf("%v sent %d bytes that are no message at %v: %x", h.Host, len(h.Data), h.At, h.Data)
		}
	})
}

// HearsSilenceFrom fails if host sent anything at or after since.
func (e *Eavesdropper) HearsSilenceFrom(t T, host *Host, since time.Duration) {
	t.Helper()
	e.each(0, func(h *Heard) {
		if h.Host == host && h.At >= since {
			t.Fatalf("%v sent a message of type %d, of %d bytes, %v after it should have been silent",
				host, h.Kind(), len(h.Data), h.At-since)
		}
	})
}

// SeesIndicesAtRandom fails if the sender indices of handshakes repeat or
// their bits are not as good as those of a coin.
func (e *Eavesdropper) SeesIndicesAtRandom(t T) {
	t.Helper()
	var list [][]byte
	e.eachHandshake(func(h *Heard) { list = append(list, h.Data[4:8]) })
	atRandom(t, "index", list)
}

// SeesEphemeralsAtRandom is SeesIndicesAtRandom for the ephemeral keys.
func (e *Eavesdropper) SeesEphemeralsAtRandom(t T) {
	t.Helper()
	var list [][]byte
	e.eachHandshake(func(h *Heard) {
		// A public key is a number below 2^255 - 19: the top bit is none.
		list = append(list, h.ephemeral()[:31])
	})
	atRandom(t, "ephemeral key", list)
}

// eachHandshake calls f for each initiation and response, copies left out.
func (e *Eavesdropper) eachHandshake(f func(*Heard)) {
	seen := make(map[string]bool)
	e.each(0, func(h *Heard) {
		if k := h.Kind(); (k == Initiation || k == Response) && !seen[string(h.Data)] {
			seen[string(h.Data)] = true
			f(h)
		}
	})
}

// atRandom fails if more of list are the same than birthdays allow, if a bit is
// set much more or less often than in one of two, or if what follows each other differs by as little.
// Six standard deviations: by chance once in five hundred million.
func atRandom(t T, what string, list [][]byte) {
	t.Helper()
	if len(list) < 64 {
		t.Fatalf("%d of the %s are too few to tell", len(list), what)
	}
	seen := make(map[string]bool)
	ones := make([]float64, len(list[0])*8)
	flips := make([]float64, len(ones))
	for i, b := range list {
		seen[string(b)] = true
		for bit := range ones {
			ones[bit] += float64(b[bit/8] >> (bit % 8) & 1)
			if i > 0 {
				flips[bit] += float64((b[bit/8] ^ list[i-1][bit/8]) >> (bit % 8) & 1)
			}
		}
	}
	n := float64(len(list))
	if twice, chance := len(list)-len(seen), n*n/math.Exp2(float64(len(ones)+1)); float64(twice) > 2+2*chance {
		t.Fatalf("the %s came twice %d times in %v", what, twice, n)
	}
	for bit := range ones {
		most := 3 * math.Sqrt(n) // 6 σ, σ = √n / 2
		if math.Abs(ones[bit]-n/2) > most || math.Abs(flips[bit]-(n-1)/2) > most {
			t.Fatalf("bit %d of the %s is set in %v of %v and flips %v times: that is no coin", bit, what, ones[bit], n, flips[bit])
		}
	}
}
