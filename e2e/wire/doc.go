// Package wire holds the tests of what goes over the cable: rekeying in real
// time, floods of handshake messages, and what an eavesdropper learns. Each test
// has two machines and a cable of its own (lab.Pair), so that those that mostly
// wait do so together.
package wire
