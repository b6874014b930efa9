package services

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
)

// Stream returns size bytes that depend on seed only.
func Stream(seed, size int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(seed))
	return io.LimitReader(rand.NewChaCha8(key), size)
}

// StreamHash returns the SHA-256 of a [Stream] in hexadecimal digits.
func StreamHash(seed, size int64) string {
	h := sha256.New()
	io.Copy(h, Stream(seed, size))
	return hex.EncodeToString(h.Sum(nil))
}
