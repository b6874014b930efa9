package wg

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

type mac = [macLen]byte

// labeledKey returns Hash(label ‖ public): the key of mac1 with "mac1----", of
// cookie replies with "cookie--" (§5.4.4, §5.4.7).
func labeledKey(label string, public PublicKey) [32]byte {
	return blake2s.Sum256(append([]byte(label), public[:]...))
}

func mac1Key(public PublicKey) [32]byte   { return labeledKey("mac1----", public) }
func cookieKey(public PublicKey) [32]byte { return labeledKey("cookie--", public) }

// keyedMAC returns the keyed BLAKE2s-128 of the parts (§5.4: Mac).
func keyedMAC(key []byte, parts ...[]byte) (m mac) {
	h, err := blake2s.New128(key)
	if err != nil {
		panic("BUG: " + err.Error()) // only for a key of the wrong size
	}
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(m[:0])
	return m
}

// checkMAC1 reports whether the sender of msg knows our public key. It comes
// before everything that costs more (§5.3).
func (id *identity) checkMAC1(msg []byte) bool {
	at := mac1Offset(msg)
	m := keyedMAC(id.mac1Key[:], msg[:at])
	return subtle.ConstantTimeCompare(m[:], msg[at:at+macLen]) == 1
}

// A cookieSecret makes the cookies that we give away under load. It lives for
// two minutes (§5.4.7). It belongs to the inbound goroutine.
type cookieSecret struct {
	secret [32]byte
	made   Instant
}

// cookie returns the cookie of the far end at from: address and port, for
// behind one address there may be many. A secret past its life is replaced.
func (c *cookieSecret) cookie(now Instant, from netip.AddrPort, random func([]byte)) mac {
	if c.made == 0 || c.made.since(now) >= cookieSecretLifetime {
		random(c.secret[:])
		c.made = now
	}
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], from.Port())
	return keyedMAC(c.secret[:], from.Addr().Unmap().AsSlice(), port[:])
}

// checkMAC2 reports whether msg carries a mac2 that only the owner of cookie
// can have made.
func checkMAC2(msg []byte, cookie mac) bool {
	at := len(msg) - macLen
	m := keyedMAC(cookie[:], msg[:at])
	return subtle.ConstantTimeCompare(m[:], msg[at:]) == 1
}

// makeCookieReply writes to reply, of cookieLen bytes, the answer to msg
// that gives its sender cookie (§5.4.7).
func (id *identity) makeCookieReply(reply, msg []byte, cookie mac, random func([]byte)) {
	// type (4), receiver (4): the sender of msg, nonce (24), cookie (16 + 16).
	binary.LittleEndian.PutUint32(reply, typeCookie)
	copy(reply[cookieReceiver:cookieNonce], msg[4:8])
	nonce := reply[cookieNonce:cookieCookie]
	random(nonce)
	aead, err := chacha20poly1305.NewX(id.cookieKey[:])
	if err != nil {
		panic("BUG: " + err.Error()) // only for a key of the wrong size
	}
	at := mac1Offset(msg)
	aead.Seal(reply[cookieCookie:cookieCookie], nonce, cookie[:], msg[at:at+macLen])
}

// A cookieJar is what a peer made us keep: the cookie to put into mac2, and
// the mac1 that a cookie reply has to answer.
type cookieJar struct {
	mac1    mac
	sent    bool // mac1 is that of a message we sent and nobody answered with a cookie
	cookie  mac
	expires Instant // 0: there is no cookie
}

// addMACs fills in mac1 and, if there is a cookie, mac2 of msg, which goes to
// the owner of public (§5.4.4).
func (j *cookieJar) addMACs(now Instant, msg []byte, public PublicKey) {
	key := mac1Key(public)
	at := mac1Offset(msg)
	j.mac1 = keyedMAC(key[:], msg[:at])
	j.sent = true
	copy(msg[at:], j.mac1[:])
	var mac2 mac
	if j.expires > now {
		mac2 = keyedMAC(j.cookie[:], msg[:at+macLen])
	}
	copy(msg[at+macLen:], mac2[:])
}

// open keeps the cookie of reply if it answers the last message that we sent
// to the owner of public, once. The cookie is used by the next message that
// goes there anyway, and for five seconds less than its maker honours it.
func (j *cookieJar) open(now Instant, reply []byte, public PublicKey) bool {
	if !j.sent {
		return false
	}
	key := cookieKey(public)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var cookie mac
	_, err = aead.Open(cookie[:0], reply[cookieNonce:cookieCookie], reply[cookieCookie:], j.mac1[:])
	if err != nil {
		return false
	}
	j.cookie, j.sent = cookie, false
	j.expires = now.after(cookieSecretLifetime - cookieLatency)
	return true
}
