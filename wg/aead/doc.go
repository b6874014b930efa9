// Package aead is ChaCha20-Poly1305 (RFC 8439) as WireGuard uses it for data
// (§5.4.6 of its whitepaper): a nonce of four zeros and a counter, no
// additional data, and many packets at once under one key.
//
// A [Batch] holds the packets, a [Key] seals or opens all of them in place.
// What comes out of each does not depend on what else is in the batch, and one
// that is not authentic does not disturb the others. No branch and no address
// depends on a key or on a text; on lengths and counters, which travel in
// clear, they do.
//
// Files:
//
//	batch.go    Batch, and the messages in it
//	key.go      Key: a key in memory that is ours to overwrite
//	library.go  the cipher of golang.org/x/crypto, and how it forgets its key
//	plan.go     which messages share the lanes of a vector
//	vector_amd64.go, vector_other.go, chacha_amd64.go, poly_amd64.go: kernels for
//	            machines with AVX-512 and its multiplication of 52 bits
package aead
