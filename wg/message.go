package wg

import (
	"encoding/binary"
	"time"
)

// Instant is a point in time: nanoseconds of CLOCK_BOOTTIME, which goes on
// while the machine sleeps. The zero Instant means never.
type Instant int64

// after returns the instant d after t.
func (t Instant) after(d time.Duration) Instant { return t + Instant(d) }

// since returns how long before now t was. A t in the future was just now: a
// clock that jumped back must not make anything live longer or panic.
func (t Instant) since(now Instant) time.Duration { return time.Duration(max(0, now-t)) }

// The constants of §6.1, and those that the kernel adds (messages.h).
const (
	rekeyAfterMessages  = 1 << 60
	rejectAfterMessages = 1<<64 - 1<<13 - 1
	rekeyAfterTime      = 120 * time.Second
	rejectAfterTime     = 180 * time.Second
	rekeyAttemptTime    = 90 * time.Second
	rekeyTimeout        = 5 * time.Second
	keepaliveTimeout    = 10 * time.Second

	rekeyTimeoutJitter   = 334 * time.Millisecond               // exclusive; messages.h: HZ/3
	maxTimerHandshakes   = int(rekeyAttemptTime / rekeyTimeout) // messages.h
	zeroKeysAfter        = 3 * rejectAfterTime
	initiationInterval   = 20 * time.Millisecond // messages.h: INITIATIONS_PER_SECOND = 50
	cookieSecretLifetime = 120 * time.Second
	cookieLatency        = 5 * time.Second
	maxStaged            = 128 // messages.h: MAX_STAGED_PACKETS
)

// The types of messages. The three bytes behind the type are reserved and
// zero: the type is compared as the whole little-endian word (§5.4).
const (
	typeInitiation = 1
	typeResponse   = 2
	typeCookie     = 3
	typeData       = 4
)

// Sizes in bytes (§5.4.2, §5.4.3, §5.4.7, §5.4.6).
const (
	initiationLen = 148
	responseLen   = 92
	cookieLen     = 64
	headerLen     = 16 // of a data message
	tagLen        = 16 // of Poly1305
	minDataLen    = headerLen + tagLen
	maxDataLen    = 65535 - 8 // the longest payload that UDP can say: RFC 768
	macLen        = 16
)

// Offsets in an initiation: type (4), sender (4), ephemeral (32),
// static (32 + 16), timestamp (12 + 16), mac1 (16), mac2 (16).
const (
	initiationEphemeral = 8
	initiationStatic    = 40
	initiationTimestamp = 88
	initiationMAC1      = 116
)

// Offsets in a response: type (4), sender (4), receiver (4), ephemeral (32),
// empty (0 + 16), mac1 (16), mac2 (16).
const (
	responseReceiver  = 8
	responseEphemeral = 12
	responseEmpty     = 44
	responseMAC1      = 60
)

// Offsets in a cookie reply: type (4), receiver (4), nonce (24),
// cookie (16 + 16).
const (
	cookieReceiver = 4
	cookieNonce    = 8
	cookieCookie   = 32
)

// Offsets in a data message: type (4), receiver (4), counter (8), packet.
const (
	dataReceiver = 4
	dataCounter  = 8
)

// messageType returns the type of a message, or 0 if msg is none: too short,
// a reserved byte set, or not of the size that its type has.
func messageType(msg []byte) uint32 {
	if len(msg) < minDataLen {
		return 0
	}
	switch t := binary.LittleEndian.Uint32(msg); {
	case t == typeData,
		t == typeInitiation && len(msg) == initiationLen,
		t == typeResponse && len(msg) == responseLen,
		t == typeCookie && len(msg) == cookieLen:
		return t
	}
	return 0
}

// mac1Offset returns where mac1 begins in an initiation or a response; mac2
// follows it and ends the message.
func mac1Offset(msg []byte) int { return len(msg) - 2*macLen }
