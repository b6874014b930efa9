package flood

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"

	"golang.org/x/crypto/blake2s"
)

// The lengths of §5.4, and where mac1 is: before mac2, at the end.
const (
	initiationLen, responseLen, cookieLen = 148, 92, 64
	macLen                                = 16
)

// Initiations returns a maker of initiations with a mac1 that holds: random
// bytes otherwise, which costs the responder a Curve25519 product to find out.
// publicKey is the responder's, base64 (§5.4.4: mac1 proves only that its sender
// knows that key).
func Initiations(publicKey string) func(*rand.Rand) []byte {
	return withMAC1(publicKey, 1, initiationLen)
}

// Responses returns a maker of responses with a mac1 that holds, to handshakes
// that nobody began.
func Responses(publicKey string) func(*rand.Rand) []byte {
	return withMAC1(publicKey, 2, responseLen)
}

func withMAC1(publicKey string, kind byte, size int) func(*rand.Rand) []byte {
	public, err := base64.StdEncoding.DecodeString(publicKey)
	if err != nil {
		panic("BUG: not a key of the tests")
	}
	key := blake2s.Sum256(append([]byte("mac1----"), public...))
	mac, err := blake2s.New128(key[:])
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return func(random *rand.Rand) []byte {
		b := message(random, kind, size)
		at := size - 2*macLen
		mac.Reset()
		mac.Write(b[:at])
		mac.Sum(b[:at])
		clear(b[at+macLen:]) // no cookie
		return b
	}
}

// Strangers makes all four messages, by somebody who does not know the public
// key: no mac1 holds, no index is anybody's.
func Strangers(random *rand.Rand) []byte {
	kind := byte(1 + random.IntN(4))
	size := []int{initiationLen, responseLen, cookieLen, 32 + 16*random.IntN(80)}[kind-1]
	return message(random, kind, size)
}

// Garbage makes what is no message: any bytes, any length, now and then one that
// begins as a message does.
func Garbage(random *rand.Rand) []byte {
	size := random.IntN(1400)
	if random.IntN(2) == 0 {
		return noise(random, size)
	}
	return message(random, byte(random.IntN(6)), max(4, size))
}

// message returns size random bytes behind the type and three zero bytes.
func message(random *rand.Rand, kind byte, size int) []byte {
	b := noise(random, size)
	binary.LittleEndian.PutUint32(b, uint32(kind))
	return b
}

func noise(random *rand.Rand, size int) []byte {
	b := make([]byte, size+7)
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
	}
	return b[:size]
}
